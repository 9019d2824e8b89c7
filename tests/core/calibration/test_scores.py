"""What leaves a calibrated model: the same answers, other scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vqazoo
from vqazoo.calibration import Calibration
from vqazoo.calibration.scores import answered, tempered
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Answer, Features, GivesLogits, Head
from vqazoo.model import VQAModel

QUESTIONS = ["what color is the shape?", "is there a red shape?", "what shape is it?"]
CURVE = ((0.0, 0.0), (0.5, 0.3), (0.9, 0.85), (1.0, 0.99))


@pytest.fixture(scope="module")
def gated() -> VQAModel:
    return vqazoo.load("tiny-clip-linear-flawedshapes")


@pytest.fixture(scope="module")
def writer() -> VQAModel:
    return vqazoo.load("tiny-clip-gru-easyvqa")


def with_calibration(model: VQAModel, calibration: Calibration | None) -> VQAModel:
    model.calibration = calibration
    return model


def pairs(before: Answer, after: Answer) -> Iterator[tuple[Answer, Answer]]:
    return zip((before, *before.alternatives), (after, *after.alternatives), strict=True)


def fused(model: VQAModel, picture: Path) -> Features:
    pixels = model.transform(picture)[None].repeat(len(QUESTIONS), 1, 1, 1)
    with torch.inference_mode():
        return model(pixels, QUESTIONS)


def logits_of(head: Head, features: Features) -> torch.Tensor:
    assert isinstance(head, GivesLogits)
    with torch.inference_mode():
        return head.logits(features)


def test_scores_of_a_softmax_are_those_of_logits_over_the_temperature_of_their_type(
    gated: VQAModel, picture: Path
) -> None:
    plain = gated.answer(picture, QUESTIONS, top_k=4, calibrated=False)
    kinds = {plain[0].answer_type: 2.5}
    with_calibration(gated, Calibration(0.6, kinds, answerable=3.0))
    told = gated.answer(picture, QUESTIONS, top_k=4)
    logits = logits_of(gated.head, fused(gated, picture))
    for row, (before, after) in enumerate(zip(plain, told, strict=True)):
        temperature = kinds.get(after.answer_type, 0.6)
        scores = (logits[row] / temperature).softmax(0)
        for old, new in zip(
            (before, *before.alternatives), (after, *after.alternatives), strict=False
        ):
            assert (old.text, old.answer_type) == (new.text, new.answer_type)
            place = gated.answers.texts.index(new.text)
            assert new.score == pytest.approx(scores[place].item(), abs=1e-5)
        odds = torch.tensor(before.answerable, dtype=torch.double).logit() / 3
        assert after.answerable == pytest.approx(odds.sigmoid().item(), abs=1e-5)


def test_a_curve_moves_the_best_score_and_the_others_share_what_is_left(
    gated: VQAModel, picture: Path
) -> None:
    count = len(gated.answers)
    with_calibration(gated, Calibration(1.0))
    plain = gated.answer(picture, QUESTIONS, top_k=count)
    with_calibration(gated, Calibration(1.0, curve=CURVE))
    for before, after in zip(plain, gated.answer(picture, QUESTIONS, top_k=count), strict=True):
        said = [after, *after.alternatives]
        assert [a.text for a in said] == [a.text for a in (before, *before.alternatives)]
        scores = [a.score for a in said]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) <= 1 + 1e-6
        assert all(other < scores[0] for other in scores[1:])


def test_a_score_that_stands_alone_is_divided_as_a_logit_and_keeps_its_order(
    writer: VQAModel, picture: Path
) -> None:
    plain = writer.answer(picture, QUESTIONS, top_k=5, calibrated=False)
    with_calibration(writer, Calibration(0.25))
    for before, after in zip(plain, writer.answer(picture, QUESTIONS, top_k=5), strict=True):
        for old, new in zip(
            (before, *before.alternatives), (after, *after.alternatives), strict=False
        ):
            assert old.text == new.text
            odds = torch.tensor(old.score, dtype=torch.double).logit() / 0.25
            assert new.score == pytest.approx(odds.sigmoid().item(), abs=1e-9)
    assert tempered(1.0, 2.0) < 1
    assert tempered(0.0, 2.0) == 0.0
    assert tempered(1e-300, 0.01) == 0.0


class Foreign(Head):
    """A third-party head that keeps today's contract and offers nothing besides."""

    def targets(self, examples: Any) -> dict[str, torch.Tensor]:
        return {}

    def loss(self, fused: Features, targets: Any) -> Any:
        raise NotImplementedError

    def predict(self, fused: Features, top_k: int = 1, **decode: Any) -> list[list[Answer]]:
        return [[Answer("Red!", 0.7), Answer("blue", 0.3)][:top_k] for _ in range(len(fused))]


def test_a_head_that_offers_nothing_but_its_contract_is_calibrated_too(gated: VQAModel) -> None:
    rows = Features(torch.zeros(2, 3))
    said = answered(Foreign(), gated.head_manifest, Calibration(2.0), rows, 2)
    assert [[a.text for a in row] for row in said] == [["Red!", "blue"]] * 2
    assert said[0][0].score == pytest.approx(tempered(0.7, 2.0))
    assert answered(Foreign(), gated.head_manifest, None, rows, 2)[0][0].score == 0.7


def test_every_way_out_gives_the_calibrated_score(
    gated: VQAModel, picture: Path, tmp_path: Path
) -> None:
    from PIL import Image

    from vqazoo.explain import explain

    calibration = Calibration(3.0)
    model = with_calibration(gated, calibration)
    expected = model.answer(picture, QUESTIONS[0])
    assert expected.score != model.answer(picture, QUESTIONS[0], calibrated=False).score
    row = [{"image": Image.open(picture), "question": QUESTIONS[0], "answer": "red"}]
    assert model.predict(row)[0]["score"] == pytest.approx(expected.score)
    assert model.predict(row, calibrated=False)[0]["score"] != pytest.approx(expected.score)
    assert explain(model, picture, QUESTIONS[0]).answer == expected
    pipeline = vqazoo.pipeline(model=model)
    assert pipeline(picture, QUESTIONS[0])[0]["score"] == pytest.approx(expected.score)
    ranked = model.rank(picture, QUESTIONS[0], [expected.text, "nothing known"])
    assert isinstance(ranked, Answer)
    assert ranked.score == pytest.approx(expected.score, abs=1e-6)
    model.save(tmp_path / "saved")
    assert vqazoo.load(f"dir:{tmp_path / 'saved'}").calibration == calibration


# ---- holding back ---------------------------------------------------------------------------


def test_an_answer_that_is_not_sure_enough_is_held_back_with_the_reason(
    gated: VQAModel, writer: VQAModel, picture: Path
) -> None:
    sure = Calibration(thresholds={0.05: 0.0, 0.1: 0.0})
    shy = Calibration(thresholds={0.01: None, 0.05: 1.0})
    with_calibration(gated, sure)
    plain = gated.answer(picture, QUESTIONS[0], abstain_at_risk=0.05)
    assert plain.abstained is None
    assert plain.answerable is not None
    assert plain.answerable >= 0.5
    with_calibration(gated, shy)
    held = gated.answer(picture, QUESTIONS[0], abstain_at_risk=0.2)
    assert (held.text, held.abstained) == ("I don't know", "unsure")
    assert held.alternatives[0].text == plain.text
    blank = gated.answer(torch.zeros(3, 64, 64), QUESTIONS[0], abstain_at_risk=0.05)
    assert blank.abstained == "unanswerable"
    with_calibration(writer, shy)
    writer.answers = replace(writer.answers, texts=("something else",), counts=(1,))
    try:
        told = writer.answer(picture, QUESTIONS[0], abstain_at_risk=0.05)
    finally:
        writer.answers = vqazoo.load("tiny-clip-gru-easyvqa").answers
    assert told.abstained == "outside the answer list"
    (row,) = gated.predict(
        [{"image": picture, "question": QUESTIONS[0]}], abstain_at_risk=0.05
    ).rows
    assert (row["answer"], row["abstained"]) == ("I don't know", "unsure")


@pytest.mark.parametrize(
    ("calibration", "how", "sentence"),
    [
        (None, {"abstain_at_risk": 0.05}, "no thresholds to abstain by"),
        (Calibration(thresholds={0.1: 0.5}), {"abstain_at_risk": 0.05}, "keeps the risk 0.05"),
        (Calibration(thresholds={0.1: None}), {"abstain_at_risk": 0.1}, "none keeps any"),
        (Calibration(), {"abstain_at_risk": 5}, "abstain_at_risk is 5"),
        (Calibration(), {"abstain_at_risk": True}, "abstain_at_risk is True"),
        (Calibration(), {"abstain_at_risk": 0.1, "calibrated": False}, "leave out calibrated"),
    ],
)
def test_what_cannot_be_promised_is_refused(
    gated: VQAModel, picture: Path, calibration: Any, how: dict[str, Any], sentence: str
) -> None:
    with_calibration(gated, calibration)
    with pytest.raises(ConfigError, match=sentence):
        gated.answer(picture, QUESTIONS[0], **how)
