"""Published BLIP-2 models answer as transformers' own class does: ids, logits, precision, files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.plugins.blip2.published import QUERIES, published
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.data.answers import AnswerList
from vqazoo.interfaces import LoadOptions
from vqazoo.toolkit.decoding import write
from vqazoo_blip2.published import read

TEXTS = {"opt": "Question: {} Answer:", "t5": "Question: {} Short answer:"}
KINDS = list(TEXTS)
QUESTIONS = ["what is this?", "what", "is this red or blue?"]
SIZES = (32, 24, 48)
LONGEST = 8


def load(folder: Path, **options):
    return read(
        str(folder), json.loads((folder / "config.json").read_text()), LoadOptions(**options)
    )


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def our_ids(model, image, question: str, **decode) -> list[int]:
    """Written without the end."""
    with torch.inference_mode():
        fused = model(model.transform(image)[None], [question])
        language_model = model.text_encoder.lend("language_model")
        first, state = language_model.start(*model.head.prompt(fused))
        rows = write(
            language_model.step, state, model.text_encoder.end_id, 1, LONGEST, first=first, **decode
        )
    return rows[0][0].tokens


def their_inputs(processor, kind: str, image, question: str):
    return processor(images=image, text=TEXTS[kind].format(question), return_tensors="pt")


def their_ids(model, inputs, kind: str, **options) -> list[int]:
    ids = model.generate(**inputs, **{"max_new_tokens": LONGEST, **options})[0].tolist()
    ids = ids[inputs["input_ids"].shape[1] :] if kind == "opt" else ids[1:]
    end = model.language_model.generation_config.eos_token_id
    return ids[: ids.index(end)] if end in ids else ids


@pytest.fixture(scope="module", params=KINDS)
def one(request, tmp_path_factory):
    """A model that several tests read: kind, folder, transformers' model and processor."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, *published(folder, request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_logits_equal_those_of_transformers(kind, tmp_path):
    ended = 0
    for seed in range(20):
        size = SIZES[seed % len(SIZES)]
        theirs, processor = published(tmp_path / str(seed), kind, seed, image_size=size)
        ours = load(tmp_path / str(seed))
        image, question = picture(seed, (size, size)), QUESTIONS[seed % len(QUESTIONS)]
        inputs = their_inputs(processor, kind, image, question)
        with torch.inference_mode():
            fused = ours(inputs["pixel_values"], [question])
            answer = torch.randint(3, 50, (1, 5), generator=torch.Generator().manual_seed(seed))
            found = ours.text_encoder.lend("language_model").logits(
                fused.tokens, fused.mask, answer
            )
            if kind == "opt":
                known = torch.cat([inputs["input_ids"], answer[:, :-1]], dim=1)
                wanted = theirs(inputs["pixel_values"], known).logits[:, -5:]
            else:
                begun = torch.cat([torch.zeros(1, 1, dtype=torch.long), answer[:, :-1]], dim=1)
                wanted = theirs(**inputs, decoder_input_ids=begun).logits
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
        assert our_ids(ours, image, question) == their_ids(theirs, inputs, kind), seed
        written = our_ids(ours, image, question, strategy="beam", beam_size=5, length_penalty=-1.0)
        assert written == their_ids(theirs, inputs, kind, num_beams=5, length_penalty=-1.0), seed
        ended += len(written) < LONGEST
    assert ended  # some answers ended by themselves


def test_the_prompt_is_queries_then_the_processors_own_tokens(one):
    kind, folder, theirs, processor = one
    model = load(folder)
    image = picture(0, (32, 32))
    inputs = their_inputs(processor, kind, image, "what is this?")
    ids, mask = model.text_encoder.tokenize(["what is this?"])
    assert ids[0].tolist() == inputs["input_ids"][0, QUERIES:].tolist()
    assert mask.all()
    fused = model(model.transform(image)[None], ["what is this?"])
    assert fused.num_prefix == QUERIES
    assert (inputs["input_ids"][0, :QUERIES] == theirs.config.image_token_index).all()
    words = theirs.get_input_embeddings()(inputs["input_ids"][:, QUERIES:])
    torch.testing.assert_close(fused.tokens[:, QUERIES:], words)


def test_questions_of_other_lengths_beside_it_do_not_change_an_answer(one):
    kind, folder, theirs, processor = one
    model, image = load(folder), picture(1, (32, 32))
    together = model.answer(image, QUESTIONS, max_tokens=LONGEST)
    for question, answer in zip(QUESTIONS, together, strict=True):
        ids = their_ids(theirs, their_inputs(processor, kind, image, question), kind)
        assert answer.text == model.text_encoder.decode(ids)


def test_a_caption_is_what_follows_the_picture_alone(one):
    kind, folder, theirs, processor = one
    model, image = load(folder), picture(7, (32, 32))
    inputs = processor(images=image, text="", return_tensors="pt")
    if kind == "opt":  # without a text transformers begins by itself
        inputs = {"pixel_values": inputs["pixel_values"], "input_ids": inputs["input_ids"]}
        ids = theirs.generate(inputs["pixel_values"], max_new_tokens=LONGEST)[0]
        assert torch.equal(ids, theirs.generate(**inputs, max_new_tokens=LONGEST)[0])
    wanted = processor.decode(their_ids(theirs, inputs, kind), skip_special_tokens=True)
    assert model.caption(image, max_tokens=LONGEST).text == wanted.strip()


def test_special_tokens_that_are_written_are_not_said(one):
    _, folder, _, processor = one
    encoder = load(folder).text_encoder
    tokenizer = processor.tokenizer
    ids = [*encoder.pieces(["red"])[0], tokenizer.pad_token_id, tokenizer.eos_token_id]
    assert encoder.decode(ids) == "red"


def test_pictures_are_prepared_as_their_own_file_says(one):
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    _, folder, _, _ = one
    model = load(folder)
    own = BlipImageProcessorPil.from_pretrained(folder)
    for size in ((32, 32), (20, 70), (100, 41)):
        image = picture(3, size)
        wanted = own(image, return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(model.transform(image), wanted, atol=1e-6, rtol=0)


def test_an_old_style_preprocessor_file_is_read_too(one, tmp_path):
    _, folder, _, _ = one
    both = json.loads((folder / "processor_config.json").read_text())
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "processor_config.json").unlink()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(both["image_processor"]))
    new, old = load(folder), load(tmp_path)
    assert old.image_encoder.spec.preprocess == new.image_encoder.spec.preprocess


def test_weights_in_several_files_are_loaded_once(one):
    _, folder, theirs, _ = one
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    model = load(folder)
    state, published_state = model.state_dict(), theirs.state_dict()
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert len(state) == len(published_state)
    assert not any(tensor.is_meta for tensor in state.values())
    assert not model.training


def test_an_output_layer_of_its_own_is_kept(tmp_path):
    theirs, processor = published(tmp_path, "t5", seed=5)
    own = torch.nn.Parameter(torch.randn(theirs.language_model.lm_head.weight.shape))
    theirs.language_model.lm_head.weight = own  # as in Flan-T5
    theirs.save_pretrained(tmp_path)
    for file in tmp_path.glob("model-*"):
        file.unlink()
    (tmp_path / "model.safetensors.index.json").unlink()
    model, image = load(tmp_path), picture(5, (32, 32))
    inputs = their_inputs(processor, "t5", image, "what")
    assert our_ids(model, image, "what") == their_ids(theirs, inputs, "t5")


def test_a_saved_copy_answers_the_same(one, tmp_path):
    _, folder, _, _ = one
    model, image = load(folder), picture(2, (32, 32))
    model.answers = AnswerList.from_texts(["red"])
    save_checkpoint(model, tmp_path)
    copy = load_checkpoint(tmp_path)
    assert copy.answer(image, QUESTIONS) == model.answer(image, QUESTIONS)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_that_of_transformers(one, dtype):
    import transformers

    kind, folder, _, processor = one
    theirs = transformers.Blip2ForConditionalGeneration.from_pretrained(
        folder, dtype=getattr(torch, dtype)
    ).eval()
    ours = load(folder, dtype=dtype)
    former = torch.float32 if dtype == "float16" else torch.bfloat16
    assert {p.dtype for p in ours.fusion.qformer.parameters()} == {former}
    assert {p.dtype for p in theirs.qformer.parameters()} == {former}
    assert ours.fusion.project.weight.dtype == getattr(torch, dtype)
    for seed in range(3):
        image = picture(seed, (32, 32))
        inputs = their_inputs(processor, kind, image, "what")
        assert our_ids(ours, image, "what") == their_ids(theirs, inputs, kind)


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_a_quantised_language_model_writes_what_transformers_writes(one, quantize):
    pytest.importorskip("accelerate")
    bitsandbytes = pytest.importorskip("bitsandbytes")
    import transformers

    kind, folder, _, processor = one
    settings = transformers.BitsAndBytesConfig(
        load_in_8bit=quantize == "8bit",
        load_in_4bit=quantize == "4bit",
        llm_int8_skip_modules=["vision_model", "qformer", "language_projection", "lm_head"],
    )
    theirs = transformers.Blip2ForConditionalGeneration.from_pretrained(
        folder, quantization_config=settings, dtype=torch.float32
    ).eval()
    ours = load(folder, quantize=quantize)
    small = (bitsandbytes.nn.Linear8bitLt, bitsandbytes.nn.Linear4bit)
    where = {name for name, module in ours.named_modules() if isinstance(module, small)}
    assert where
    assert all(name.startswith("towers.text.language_model.model.") for name in where)
    image = picture(4, (32, 32))
    inputs = their_inputs(processor, kind, image, "what is this?")
    assert our_ids(ours, image, "what is this?") == their_ids(theirs, inputs, kind)


@pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}])
def test_a_device_map_changes_no_answer(one, device_map):
    pytest.importorskip("accelerate")
    _, folder, _, _ = one
    if torch.cuda.is_available() and device_map == "auto":
        pytest.skip("auto uses the accelerator, whose rounding differs")
    image = picture(6, (32, 32))
    plain, mapped = load(folder), load(folder, device_map=device_map)
    assert mapped.answer(image, QUESTIONS) == plain.answer(image, QUESTIONS)
