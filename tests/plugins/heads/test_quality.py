"""Flaws of pictures: the head, its manifest, what `model.quality` says, and how it is scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

import vqazoo
from vqazoo.data import Example
from vqazoo.data.answers import AnswerList, apply_rule
from vqazoo.errors import ConfigError, PluginError
from vqazoo.evaluation.flaws import flaw_metrics
from vqazoo.evaluation.metrics.reliability import average_precision
from vqazoo.interfaces import Answer, Features, FusedSpec
from vqazoo.model import VQAModel
from vqazoo.quality import FLAWS, NO_FLAW, UNRECOGNIZABLE, quality_of
from vqazoo.registry import registry
from vqazoo.testing import check_head

JUDGE = "tiny-clip-quality-flawedshapes"
TEXTS = ("no flaw", "blurred", "unrecognizable")


@pytest.fixture(scope="module")
def judge() -> VQAModel:
    return vqazoo.load(JUDGE)


def picture() -> Image.Image:
    drawn = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(drawn).ellipse((16, 16, 48, 48), fill="red")
    return drawn


# ---- the head -------------------------------------------------------------------------------


def test_the_head_keeps_its_contract() -> None:
    check_head("quality")


def test_the_loss_is_binary_cross_entropy_of_every_flaw_by_hand() -> None:
    answers = AnswerList.from_texts(TEXTS)
    head = registry.build("head", "quality", FusedSpec("pooled", 4), answers, None)
    people = ("blurred",) * 5 + ("unrecognizable",) * 5
    rows = [
        Example(Path("a.png"), "?", people, "a"),
        Example(Path("b.png"), "?", ("no flaw",) * 5, "b"),
        Example(Path("c.png"), "?", ("rotated",) * 5, "c"),  # not in the list: teaches nothing
    ]
    fused = Features(torch.randn(3, 4))
    loss, _ = head.eval().loss(fused, head.targets(apply_rule("soft", rows, 0)))
    p = head.logits(fused).sigmoid()[:2]  # (2, K)
    y = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    by_hand = -(y * p.log() + (1 - y) * (1 - p).log()).sum(dim=1).mean()
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_a_manifest_of_flaws_needs_scores_that_stand_alone() -> None:
    manifest = registry.manifest("head", "quality")
    with pytest.raises(PluginError, match="flaws=True, but False, or independent_scores=True"):
        replace(manifest, independent_scores=False)


# ---- what is said of a picture --------------------------------------------------------------


def test_a_clear_picture_has_no_flaw_and_a_blurred_one_is_to_be_taken_again(
    judge: VQAModel,
) -> None:
    blurred = picture().filter(ImageFilter.GaussianBlur(24))
    dark = picture().point(lambda value: value // 32)
    clear, first, second = judge.quality([picture(), blurred, dark])
    assert (clear.worst, clear.retake, clear.advice) == (None, False, "")
    assert (first.worst, first.retake) == ("blurred", True)
    assert (second.worst, second.retake) == ("too dark", True)
    assert first.advice == "The picture is blurred. Hold the camera still, and take it again."
    assert judge.quality(blurred).flaws == pytest.approx(first.flaws, abs=1e-6)
    assert NO_FLAW not in first.flaws
    assert UNRECOGNIZABLE not in first.flaws
    assert set(first.flaws) <= set(FLAWS.values())


def test_a_model_of_answers_judges_no_picture() -> None:
    with pytest.raises(ConfigError, match="not trained on flaws of pictures: load one that was"):
        vqazoo.load("tiny-clip-lstm-easyvqa").quality(picture())


@pytest.mark.parametrize(
    ("scores", "worst", "retake"),
    [
        ({"no flaw": 0.9, "blurred": 0.1, "unrecognizable": 0.0}, None, False),
        ({"no flaw": 0.4, "blurred": 0.5, "unrecognizable": 0.49}, "blurred", False),
        ({"blurred": 0.4, "unrecognizable": 0.6}, None, True),
        ({"blurred": 0.7, "too dark": 0.8}, "too dark", False),
        ({"no flaw": 1.0}, None, False),
    ],
)
def test_a_flaw_is_told_from_one_half_on(
    scores: dict[str, float], worst: str | None, retake: bool
) -> None:
    first, *others = (Answer(text, score) for text, score in scores.items())
    quality = quality_of(replace(first, alternatives=tuple(others)))
    assert (quality.worst, quality.retake) == (worst, retake)
    assert bool(quality.advice) == (worst is not None or retake)


def test_the_packaged_model_is_small_and_knows_seven_of_the_labels(judge: VQAModel) -> None:
    from vqazoo.catalogue import entries

    assert entries()[JUDGE].size < 1_000_000
    known = {FLAWS[code] for code in ("NON", "BLR", "BRT", "DRK", "FRM", "OBS")}
    assert set(judge.answers.texts) == known | {UNRECOGNIZABLE}


# ---- how it is scored -----------------------------------------------------------------------


def test_flaws_are_scored_one_by_one_as_scikit_learn_does() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    there = rng.random((60, 3)) < (0.5, 0.3, 0.2)
    there[:, 0] |= ~there.any(axis=1)  # each picture is called something
    scores = np.clip(there * 0.3 + rng.random((60, 3)) * 0.7, 0, 1)
    examples = [
        Example(Path(f"{row}.png"), "?", tuple(np.repeat(np.array(TEXTS)[named], 2)), str(row))
        for row, named in enumerate(there)
    ]
    answers = []
    for row in scores:
        first, *others = (Answer(text, float(s)) for text, s in zip(TEXTS, row, strict=True))
        answers.append(replace(first, alternatives=tuple(others)))
    got = {m.name: m.value for m in flaw_metrics(examples, answers, "flawed-shapes", "test")}
    for column, text in enumerate(TEXTS):
        name = text.replace(" ", "-")
        told = scores[:, column]
        expected = metrics.average_precision_score(there[:, column], told)
        assert got[f"flaw-ap-{name}"] == pytest.approx(expected)
        assert got[f"flaw-f1-{name}"] == pytest.approx(
            metrics.f1_score(there[:, column], told >= 0.5)
        )
    assert got["flaw-ap-mean"] == pytest.approx(
        np.mean([average_precision(there[:, k], scores[:, k]) for k in range(3)])
    )


def test_one_person_of_five_does_not_make_a_flaw() -> None:
    people = ("no flaw",) * 4 + ("blurred",)
    rows = [Example(Path("a"), "?", people, "a"), Example(Path("b"), "?", ("blurred",) * 5, "b")]
    answer = Answer("no flaw", 0.9, alternatives=(Answer("blurred", 0.6),))
    got: dict[str, Any] = {m.name: m for m in flaw_metrics(rows, [answer, answer], "table", "test")}
    assert got["flaw-f1-blurred"].value == pytest.approx(2 / 3)  # one hit, one false alarm
    assert "positive:named by 2 or more" in got["flaw-f1-blurred"].signature
