"""ViLT's parts by themselves: tower, fusion and head, also among parts of other systems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import vqazoo
from tests.plugins.vilt.tiny import LABELS, vilt
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.data import Example
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError, IncompatibleError
from vqazoo.interfaces import Features, FusedSpec, TowerSpec
from vqazoo.manifests import EncoderManifest
from vqazoo.registry import registry
from vqazoo.testing import check_encoder, check_fusion, check_head, toy_encoder

SMALL = {"dim": 16, "layers": 2, "heads": 2, "hidden_dim": 24, "dropout": 0.0}
TOKENS = frozenset({"tokens"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return vilt(tmp_path_factory.mktemp("vilt") / "published")


@pytest.fixture(scope="module")
def published(folder):
    import transformers

    return transformers.ViltForQuestionAnswering.from_pretrained(folder).eval()


def encoder(folder, *towers: str):
    made = registry.build("encoder", f"hf-vilt:{folder}", str(folder), frozenset(towers))
    made.load_pretrained()
    return made.eval()


# ---- towers ----------------------------------------------------------------------------------


def test_the_encoder_keeps_the_contract(folder):
    manifest = registry.manifest("encoder", f"hf-vilt:{folder}")
    assert isinstance(manifest, EncoderManifest)
    check_encoder(encoder(folder, "image", "text"), manifest)
    check_encoder(encoder(folder, "image"), manifest)
    check_encoder(encoder(folder, "text"), manifest)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (96, 64), (32, 96), (48, 80)])
def test_image_tokens_are_the_patches_of_transformers_in_their_order(folder, published, size):
    pixels = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected, _, (places, _) = published.vilt.embeddings.visual_embed(
            pixels, torch.ones(2, *size), max_image_length=-1
        )
        found = encoder(folder, "image").encode_image(pixels, TOKENS)
    assert found.num_prefix == 1
    columns = size[1] // 16
    for row in range(2):
        numbers = places[row, :, 0] * columns + places[row, :, 1]
        assert sorted(numbers.tolist()) == list(range(len(numbers)))
        in_order = torch.cat([expected[row, :1], expected[row, 1:][numbers.argsort()]])
        torch.testing.assert_close(found.tokens[row], in_order, rtol=0, atol=1e-6)


def test_question_tokens_are_those_of_transformers(folder, published):
    tower = encoder(folder, "text")
    ids, mask = tower.tokenize(["what is this", "is it a red circle?"])
    with torch.no_grad():
        expected = published.vilt.embeddings.text_embeddings(input_ids=ids)
        assert torch.equal(tower.encode_text(ids, mask, TOKENS).tokens, expected)


def test_a_tower_that_is_not_asked_for_is_not_built(folder):
    names = set(encoder(folder, "image").state_dict())
    assert names
    assert not any("text_embeddings" in name for name in names)
    names = set(encoder(folder, "text").state_dict())
    assert names
    assert all("text_embeddings" in name for name in names)


def test_another_model_is_refused(folder, tmp_path):
    from tests.plugins.encoders.tiny import hf_text

    place = hf_text(tmp_path / "bert", "bert")
    with pytest.raises(IncompatibleError, match="is a 'bert' model, but hf-vilt takes vilt"):
        registry.build("encoder", f"hf-vilt:{place}", str(place), frozenset({"image"}))


@pytest.mark.parametrize("fusion", ["cross-attention", "vilt"])
@pytest.mark.parametrize("head", ["mlp", "vilt-classifier"])
def test_its_towers_feed_other_parts(folder, tmp_path, picture, fusion, head):
    args = {"dim": 16, "layers": 1, "heads": 2}
    model = vqazoo.create(
        encoder=f"hf-vilt:{folder}",
        fusion={"type": fusion, "args": args},
        head=head,
        answers=["red", "blue"],
    )
    save_checkpoint(model, tmp_path / "saved")
    asked = picture, ["what is this", "is it red"], 2
    assert load_checkpoint(tmp_path / "saved").answer(*asked) == model.answer(*asked)


# ---- fusion ----------------------------------------------------------------------------------


def test_the_fusion_keeps_the_contract():
    check_fusion("vilt", **SMALL)


def test_towers_of_its_own_width_get_no_further_layer():
    torch.manual_seed(0)
    same = registry.build(
        "fusion",
        "vilt",
        TowerSpec(None, 16),
        TowerSpec(None, 16),
        **registry.fill("fusion", "vilt", SMALL),
    )
    other = registry.build(
        "fusion",
        "vilt",
        TowerSpec(None, 8),
        TowerSpec(None, 12),
        **registry.fill("fusion", "vilt", SMALL),
    )
    added = set(other.state_dict()) - set(same.state_dict())
    assert {name.split(".")[0] for name in added} == {"project_image", "project_question"}


def test_the_published_size_has_the_published_number_of_parameters():
    """12 layers of ViT-B: 85.05 million, the last norm, the pooler and two modalities."""
    with torch.device("meta"):
        made = registry.build(
            "fusion",
            "vilt",
            TowerSpec(None, 768),
            TowerSpec(None, 768),
            **registry.fill(
                "fusion", "vilt", {"dim": 768, "layers": 12, "heads": 12, "hidden_dim": 3072}
            ),
        )
    layer = 4 * (768 * 768 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    count = sum(p.numel() for p in made.parameters())
    assert count == 12 * layer + 2 * 768 + 768 * 768 + 768 + 2 * 768


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ConfigError, match=r"dim 16 and heads 3.*try dim 192"):
        registry.build(
            "fusion",
            "vilt",
            TowerSpec(None, 8),
            TowerSpec(None, 8),
            **registry.fill("fusion", "vilt", {**SMALL, "heads": 3}),
        )


# ---- head ------------------------------------------------------------------------------------


def example(*targets: tuple[str, float]) -> Example:
    return Example(Path("unused.png"), "what?", ("x",), "1", targets=targets)


def head(texts=LABELS, dim: int = 16):
    torch.manual_seed(0)
    answers = AnswerList(tuple(texts), (0,) * len(texts))
    return registry.build(
        "head", "vilt-classifier", FusedSpec("pooled", dim), answers, toy_encoder()
    ).eval()


def test_the_head_keeps_the_contract():
    check_head("vilt-classifier")


def test_the_loss_is_that_of_transformers(folder, published):
    made = head(dim=32)
    made.layers.load_state_dict(published.classifier.state_dict())
    pooled = torch.randn(3, 32)
    given = [example(("yes", 1.0), ("no", 0.3)), example(("2", 0.6)), example(("on table", 0.9))]
    soft = torch.zeros(3, len(LABELS))
    soft[0, 1], soft[0, 3], soft[1, 2], soft[2, 5] = 1.0, 0.3, 0.6, 0.9
    loss, parts = made.loss(Features(pooled), made.targets(given))
    logits = published.classifier(pooled)
    # as ViltForQuestionAnswering.forward computes it
    expected = F.binary_cross_entropy_with_logits(logits, soft) * soft.shape[1]
    torch.testing.assert_close(loss, expected)
    assert parts == {}


def test_answers_that_it_does_not_know_teach_nothing():
    made = head()
    pooled = torch.randn(2, 16)
    known, unknown = example(("yes", 1.0)), example(("zebra", 1.0))
    both, _ = made.loss(Features(pooled), made.targets([known, unknown]))
    alone, _ = made.loss(Features(pooled[:1]), made.targets([known]))
    torch.testing.assert_close(both, alone)
    none, _ = made.loss(Features(pooled[1:]), made.targets([unknown]))
    assert none == 0
    mixed, _ = made.loss(Features(pooled[:1]), made.targets([example(("yes", 1.0), ("w", 0.3))]))
    torch.testing.assert_close(mixed, alone)


def test_a_learnt_answer_finds_the_label_that_is_written_differently():
    targets = head().targets([example(("yes", 1.0)), example(("2", 1.0)), example(("net", 0.3))])
    assert targets["answer"].flatten().tolist() == [LABELS.index("Yes"), LABELS.index("2"), 0]
    assert targets["weight"].flatten().tolist() == pytest.approx([1.0, 1.0, 0.3])


def test_scores_are_sigmoids_of_their_own():
    made = head()
    features = Features(torch.randn(2, 16))
    expected = made.logits(features).sigmoid()
    for row, ranked in enumerate(made.predict(features, top_k=len(LABELS))):
        assert {one.text: one.score for one in ranked} == pytest.approx(
            dict(zip(LABELS, expected[row].tolist(), strict=True))
        )


def test_the_head_learns_several_answers_of_one_question():
    made = head(("red", "blue", "green")).train()
    features = Features(torch.randn(2, 16))
    targets = made.targets([example(("red", 1.0), ("green", 0.6)), example(("blue", 0.9))])
    optimiser = torch.optim.Adam(made.parameters(), lr=1e-2)
    for _ in range(200):
        optimiser.zero_grad()
        made.loss(features, targets)[0].backward()
        optimiser.step()
    first, second = made.eval().predict(features, top_k=3)
    assert [(one.text, round(one.score, 1)) for one in first[:2]] == [("red", 1.0), ("green", 0.6)]
    assert (second[0].text, round(second[0].score, 1)) == ("blue", 0.9)


# ---- together, on another encoder ------------------------------------------------------------


def test_vilt_trains_on_the_towers_of_tiny_clip(table, tmp_path):
    model = vqazoo.train(
        out=tmp_path / "run",
        encoder="tiny-clip",
        fusion={"type": "vilt", "args": SMALL},
        head="vilt-classifier",
        data={"type": "table", "args": {"train": str(table)}},
        set=["training.epochs=10", "training.batch_size=8", "training.learning_rate=0.01"],
        report=lambda line: None,
    )
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in log]
    assert losses[-1] < 0.6 * losses[0]
    asked = table.parent / "0.png", ["are there several?", "what shape is it?"]
    answers = model.answer(*asked)
    assert answers[0].text in ("yes", "no")
    loaded = vqazoo.load(f"dir:{tmp_path / 'run' / 'best'}")
    assert loaded.answer(*asked) == answers
