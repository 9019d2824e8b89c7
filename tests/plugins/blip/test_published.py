"""BLIP in transformers' layout, put into our parts, answers as transformers' own classes do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from tests.plugins.blip.tiny import ANSWERS, CAPTIONS, DEC, ENC, END, WIDTH, blip, loaded, until_end
from tests.support.weights import unmapped
from vqazoo.errors import CheckpointError, ConfigError, IncompatibleError
from vqazoo.interfaces import LoadOptions
from vqazoo.model import VQAModel
from vqazoo.registry import registry
from vqazoo.testing import check_encoder
from vqazoo.toolkit.decoding import Written
from vqazoo_blip.encoder import cleaned
from vqazoo_blip.published import read

QUESTIONS = ["what is this?", "is it a red circle", "the color of the shape?"]
SIZES = [(32, 0), (40, 0), (32, 48)]  # of the model, of the pictures if they differ
SEEDS = range(24)
BEAMS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    (
        {"beam_size": 3, "length_penalty": 1.0, "max_tokens": 9},
        {"num_beams": 3, "max_new_tokens": 9},
    ),
    (
        {"beam_size": 4, "length_penalty": -1.0, "max_tokens": 6},
        {"num_beams": 4, "length_penalty": -1.0, "max_new_tokens": 6},
    ),
    ({"beam_size": 3, "max_tokens": 4}, {"num_beams": 3, "length_penalty": 0.0, "max_length": 5}),
]


def picture(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 255, (50, 40, 3), dtype=np.uint8)
    return Image.fromarray(values)


def ids(written: list[list[Written]]) -> list[list[int]]:
    return [row[0].tokens for row in written]


def theirs(model: Any, pixels: Tensor, text: dict[str, Tensor], **options: Any) -> list[list[int]]:
    """Token ids of transformers' generate, without the start and from the end on."""
    said = model.generate(
        pixel_values=pixels, do_sample=False, interpolate_pos_encoding=True, **text, **options
    )
    return [until_end(row[1:]) for row in said.tolist()]


def tokens(ours: VQAModel, questions: list[str]) -> dict[str, Tensor]:
    found, mask = ours.text_encoder.tokenize(questions)
    return {"input_ids": found, "attention_mask": mask.long()}


@pytest.mark.parametrize("seed", SEEDS)
@torch.no_grad()
def test_states_logits_and_answers_are_those_of_transformers(seed: int, tmp_path: Path) -> None:
    size, prepared = SIZES[seed % len(SIZES)]
    published = blip(tmp_path, seed=seed, image_size=size, prepared_size=prepared)
    ours = loaded(tmp_path)
    pixels = ours.transform(picture(seed))[None]
    assert pixels.shape[2:] == (prepared or size, prepared or size)
    for question in (QUESTIONS * 2)[seed % 3 :][:2]:  # alone: transformers' decoder sees padding
        text = tokens(ours, [question])
        fused = ours(pixels, [question])
        seen = published.vision_model(pixels, interpolate_pos_encoding=True).last_hidden_state
        states = published.text_encoder(**text, encoder_hidden_states=seen).last_hidden_state
        assert torch.allclose(fused.tokens, states, atol=1e-5)

        written = torch.tensor([[7, 5, 9, END]])
        expected = published.text_decoder(
            torch.cat([torch.tensor([[DEC]]), written[:, :-1]], dim=1),
            encoder_hidden_states=states,
        ).logits.log_softmax(dim=2)
        losses = ours.head.token_losses(ours.head.look(fused), written, 0.0)
        assert torch.allclose(-losses, expected.gather(2, written[:, :, None])[..., 0], atol=1e-5)

        for decode, options in BEAMS:
            strategy = "beam" if decode else "greedy"
            said = ids(ours.head.generate(fused, 1, strategy=strategy, **decode))
            assert said == theirs(published, pixels, text, **options), (question, decode)


def test_the_tiny_models_answer_by_picture_and_question_at_several_lengths(tmp_path: Path) -> None:
    """Else the tests above would compare little."""
    lengths, texts = set(), set()
    for seed in range(4):
        blip(tmp_path / str(seed), seed=seed)
        ours = loaded(tmp_path / str(seed))
        for shown in (0, 1):
            found = ours.answer(picture(shown), QUESTIONS)
            lengths |= {len(ours.text_encoder.pieces([one.text])[0]) for one in found}
            texts.add(tuple(one.text for one in found))
    assert len(lengths) >= 4
    assert len(texts) >= 6


@pytest.mark.parametrize("seed", range(6))
@torch.no_grad()
def test_captions_are_those_of_transformers(seed: int, tmp_path: Path) -> None:
    size, prepared = SIZES[seed % len(SIZES)]
    published = blip(tmp_path, CAPTIONS, seed, size, prepared)
    ours = loaded(tmp_path)
    assert ours.config.fusion.type == "image-tokens"
    pixels = torch.cat([ours.transform(picture(seed + n))[None] for n in range(3)])
    fused = ours(pixels, [""] * 3)
    for decode, options in BEAMS:
        strategy = "beam" if decode else "greedy"
        said = ids(ours.head.generate(fused, 1, strategy=strategy, **decode))
        assert said == theirs(published, pixels, {}, **options), decode
    caption = ours.caption(picture(seed))
    assert caption.text == ours.text_encoder.decode(theirs(published, pixels[:1], {})[0])


@torch.no_grad()
def test_a_prompt_of_the_captioner_continues_as_in_transformers(tmp_path: Path) -> None:
    published = blip(tmp_path, CAPTIONS, seed=4)
    ours = loaded(tmp_path)
    pixels = ours.transform(picture(4))[None]
    head = registry.build(
        "head",
        "med-decoder",
        ours.fusion.out,
        ours.answers,
        ours.text_encoder,
        **{**ours.config.head.args, "prompt": "a picture of "},
    ).eval()
    head.load_state_dict(ours.head.state_dict())
    asked = tokens(ours, ["a picture of"])
    said = published.generate(pixels, asked["input_ids"].clone(), num_beams=3)[0].tolist()
    assert said[:4] == [DEC, *asked["input_ids"][0, 1:-1].tolist()]
    fused = ours(pixels, [""])
    found = head.generate(fused, strategy="beam", beam_size=3, length_penalty=1.0)
    assert ids(found) == [until_end(said[4:])]


@torch.no_grad()
def test_padding_is_seen_as_in_transformers_only_if_asked(tmp_path: Path) -> None:
    published = blip(tmp_path, seed=3)
    ours = loaded(tmp_path)
    pixels = ours.transform(picture(3))[None].expand(3, -1, -1, -1)
    expected = theirs(published, pixels, tokens(ours, QUESTIONS), num_beams=3)
    ours.fusion.mask_questions = False
    found = ours.head.generate(
        ours(pixels, QUESTIONS), strategy="beam", beam_size=3, length_penalty=1.0
    )
    assert ids(found) == expected
    assert ours(pixels, QUESTIONS).mask.all()


def test_an_answer_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    blip(tmp_path, seed=3)
    ours = loaded(tmp_path)
    together = ours.answer(picture(3), QUESTIONS)
    for question, expected in zip(QUESTIONS, together, strict=True):
        alone = ours.answer(picture(3), question)
        assert alone.text == expected.text
        assert alone.score == pytest.approx(expected.score, abs=1e-5)


@torch.no_grad()
def test_ranking_is_the_original_one_done_by_hand(tmp_path: Path) -> None:
    """blip_vqa.py, rank_answer: label smoothing is part of what is ranked by."""
    published = blip(tmp_path, seed=5, label_smoothing=0.1)
    ours = loaded(tmp_path)
    candidates = ["red", "blue", "a red circle", "yes", "no", "an shapes", "the color", "a circle"]
    pixels = ours.transform(picture(5))[None]
    fused = ours(pixels, QUESTIONS[:1])
    start = torch.tensor([[DEC]])
    first = (
        published.text_decoder(start, encoder_hidden_states=fused.tokens).logits[0, 0].softmax(0)
    )
    spelled = ours.text_encoder.pieces(candidates)
    for first_k in (3, 5, 8, 128):
        likely = sorted(range(8), key=lambda n: -first[spelled[n][0]].item())[:first_k]
        ranked = []
        for number in likely:
            answer = torch.tensor([[*spelled[number], END]])
            scores = published.text_decoder(
                torch.cat([start, answer[:, :-1]], dim=1), encoder_hidden_states=fused.tokens
            ).logits[0]  # (T, V)
            loss = torch.nn.CrossEntropyLoss(reduction="none", label_smoothing=0.1)
            plain = torch.nn.CrossEntropyLoss(reduction="sum")(scores, answer[0])
            ranked.append((loss(scores, answer[0]).sum().item(), number, plain.neg().exp().item()))
        ranked.sort()
        found = ours.head.rank(fused, candidates, top_k=8, first_k=first_k)[0]
        assert [one.text for one in found] == [candidates[number] for _, number, _ in ranked]
        assert [one.score for one in found] == pytest.approx([p for *_, p in ranked], abs=1e-5)


def test_the_loaded_model_is_made_of_the_registered_parts(tmp_path: Path) -> None:
    blip(tmp_path)
    ours = loaded(tmp_path)
    assert ours.config.fusion.type == "med"
    assert ours.config.head.type == "med-decoder"
    assert not ours.training
    assert len(ours.answers) == 0
    assert ours.text_encoder.reference is not None
    assert ours.text_encoder.start_id == DEC
    with pytest.raises(ConfigError, match="knows no answers to rank"):
        ours.answer(picture(0), "what?", strategy="rank")
    with pytest.raises(ConfigError, match=r"max_tokens is 50, but .* 39 tokens"):
        ours.answer(picture(0), "what?", max_tokens=50)
    half = read(
        str(tmp_path), json.loads((tmp_path / "config.json").read_text()), LoadOptions("bfloat16")
    )
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert half.answer(picture(0), "what?").score <= 1


# ---- the encoder on its own ------------------------------------------------------------------


@pytest.mark.parametrize("architecture", [ANSWERS, CAPTIONS, "BlipForImageTextRetrieval"])
def test_the_encoder_keeps_the_contract_and_loads_its_weights(
    architecture: str, tmp_path: Path
) -> None:
    published = blip(tmp_path, architecture, seed=1)
    name = f"hf-blip:{tmp_path}"
    encoder = registry.build("encoder", name, str(tmp_path), frozenset({"image", "text"}))
    encoder.load_pretrained()
    check_encoder(encoder.eval(), registry.manifest("encoder", name))
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    retrieval = architecture == "BlipForImageTextRetrieval"
    kinds = frozenset({"pooled", "tokens"}) if retrieval else frozenset({"tokens"})
    with torch.no_grad():
        found = encoder.encode_image(pixels, kinds)
        seen = published.vision_model(pixels).last_hidden_state
        assert torch.allclose(found.tokens, seen, atol=1e-6)
        assert found.num_prefix == 1
        if retrieval:
            expected = torch.nn.functional.normalize(published.vision_proj(seen[:, 0]), dim=1)
            assert torch.allclose(found.pooled, expected, atol=1e-6)
    assert (encoder.spec.image.pooled is not None) == retrieval


def test_a_question_starts_with_enc_and_is_cleaned_unless_asked_otherwise(tmp_path: Path) -> None:
    published = blip(tmp_path)
    towers = frozenset({"text"})
    original = registry.build("encoder", f"hf-blip:{tmp_path}", str(tmp_path), towers)
    ported = registry.build(
        "encoder",
        f"hf-blip:{tmp_path}",
        str(tmp_path),
        towers,
        first_token="cls",
        clean=False,
        context_length=0,
    )
    original.load_pretrained(), ported.load_pretrained()
    assert not any(name.startswith("vision") for name in original.state_dict())
    (plain,), _ = original.tokenize(['What is "this"?'])
    (kept,), _ = ported.tokenize(['What is "this"?'])
    assert len(kept) == len(plain) + 2
    embeddings = published.text_encoder.embeddings
    with torch.no_grad():
        for encoder, first in ((original, ENC), (ported, plain[0].item())):
            states = encoder.encode_text(
                plain[None], torch.ones(1, len(plain)).bool(), frozenset({"tokens"})
            )
            expected = embeddings(torch.cat([torch.tensor([first]), plain[1:]])[None])
            assert torch.allclose(states.tokens, expected, atol=1e-6)
    assert original.spec.context_length == 35
    assert ported.spec.context_length == 40


def test_cleaning_is_that_of_the_original() -> None:
    assert cleaned('Is it "Red" (or: blue)? *#;~!  ') == "is it red or blue?"
    assert cleaned("yes, no?") == "yes, no?"
    assert cleaned(" ".join(["what"] * 60)) == " ".join(["what"] * 50)


def test_text_embedding_places_the_first_token_where_it_is_told(tmp_path: Path) -> None:
    blip(tmp_path)
    encoder = registry.build(
        "encoder", f"hf-blip:{tmp_path}", str(tmp_path), frozenset({"text"})
    ).eval()
    lent = encoder.lend("text_embedding")
    written = torch.tensor([[5, 6, 7, 8]])
    whole = lent(written, torch.tensor([0]))
    assert whole.shape == (1, 4, WIDTH)
    assert torch.equal(lent(written[:, 2:], torch.tensor([2])), whole[:, 2:])
    assert encoder.lend("token_embedding").num_embeddings == ENC + 1


# ---- what cannot be read ---------------------------------------------------------------------


def test_another_task_is_refused_in_words(tmp_path: Path) -> None:
    blip(tmp_path, "BlipForImageTextRetrieval")
    with pytest.raises(IncompatibleError, match="answers no questions"):
        loaded(tmp_path)


@pytest.mark.parametrize("option", [{"quantize": "8bit"}, {"device_map": "auto"}])
def test_options_of_large_models_are_refused(option: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"takes no {next(iter(option))}"):
        read(str(tmp_path), {}, replace(LoadOptions(), **option))  # type: ignore[arg-type]


def test_a_tensor_left_over_or_missing_or_untied_is_told(tmp_path: Path) -> None:
    blip(tmp_path)
    file = tmp_path / "model.safetensors"
    good = unmapped(file)
    words = "text_decoder.bert.embeddings.word_embeddings.weight"
    output = "text_decoder.cls.predictions.decoder.weight"
    for changed, told in (
        ({**good, "surprise": torch.zeros(1)}, "1 left over: surprise"),
        ({k: v for k, v in good.items() if k != words}, "1 missing: head.embedding.words.weight"),
        ({**good, words: good[words][:-1].clone()}, "1 of another shape"),
        ({**good, output: good[words] + 1}, "output weights of its own"),
    ):
        save_file(changed, file)
        with pytest.raises(CheckpointError, match=told):
            loaded(tmp_path)
    second = {
        **good,
        output: good[words].clone(),
        "text_encoder.embeddings.position_ids": torch.arange(40)[None],
    }
    save_file(second, file)  # as older checkpoints have them
    assert loaded(tmp_path).head.embedding.words.weight.equal(good[words])


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("text_config", r"text_(en|de)coder\.(bert\.)?encoder\.layer\.1\."),
        ("vision_config", r"vision_model\.encoder\.layers\.1\."),
    ],
)
def test_weights_with_more_layers_than_the_config_counts_are_refused(
    part: str, named: str, tmp_path: Path
) -> None:
    blip(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    assert said[part]["num_hidden_layers"] == 2
    said[part]["num_hidden_layers"] = 1
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match=rf"left over: {named}"):
        loaded(tmp_path)


def test_a_text_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    blip(tmp_path, hidden_act="relu")
    with pytest.raises(CheckpointError, match=r"text_config.hidden_act 'relu'"):
        loaded(tmp_path)
