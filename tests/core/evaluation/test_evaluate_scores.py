"""Every metric of a split, by name, on examples made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from vqazoo.data import Example, digest
from vqazoo.data.answers import AnswerList
from vqazoo.errors import DataError
from vqazoo.evaluation.metric import Metric, by_name
from vqazoo.evaluation.metrics import wups as wups_metric
from vqazoo.evaluation.score import score
from vqazoo.interfaces import Answer

KNOWN = AnswerList(("red", "no", "two"), (5, 3, 1))
WORDS = [
    "squad-exact-match",
    "squad-f1",
    "bleu-1",
    "bleu-2",
    "bleu-3",
    "bleu-4",
    "sentence-bleu",
    "sentence-bleu-1",
    "chrf",
]
TRUST = [
    "risk-coverage-area",
    "coverage-at-1-percent-risk",
    "coverage-at-5-percent-risk",
    "coverage-at-10-percent-risk",
    "effective-reliability-1-best",
    "effective-reliability-1-all",
    "effective-reliability-10-best",
    "effective-reliability-10-all",
    "effective-reliability-100-best",
    "effective-reliability-100-all",
    "calibration-error",
    "brier-score",
]


def asked(
    question_id: str, *answers: str, kind: str = "", form: str = "", answerable: bool | None = None
) -> Example:
    return Example(
        Path(f"{question_id}.jpg"), "what?", answers, question_id, kind, form, answerable
    )


SINGLE = [asked("1", "Red."), asked("2", "no"), asked("3", "a cat"), asked("4", "two")]
GIVEN = [Answer("red", 0.9), Answer("yes", 0.2), Answer("cat", 0.5), Answer("two", 0.7)]
TEN = [
    asked("1", *["red"] * 10, kind="other", form="what color"),
    asked("2", *["no"] * 3, *["yes"] * 7, kind="yes/no", form="is it"),
    asked("3", *["cat"] * 2, *["dog"] * 8, kind="other", form="what is"),
    asked("4", *["2"] * 9, "four", kind="number"),
]
TEN_GIVEN = [Answer("red", 0.9), Answer("no", 0.2), Answer("cat", 0.5), Answer("two", 0.7)]


def values(metrics: Sequence[Metric]) -> dict[str, float]:
    assert len({one.name for one in metrics}) == len(metrics)
    assert len({one.signature for one in metrics}) == len(metrics)
    return {one.name: one.value for one in metrics}


def test_one_answer_a_question_gives_these_metrics_in_this_order() -> None:
    found = values(score(SINGLE, GIVEN, "table", "test"))
    assert list(found) == ["accuracy", *WORDS, *TRUST]
    assert found["accuracy"] == 0.5
    assert found["squad-exact-match"] == 0.75  # it drops the article of `a cat`
    assert found["squad-f1"] == 0.75


def test_ten_answers_a_question_add_agreement_with_people() -> None:
    found = values(score(TEN, TEN_GIVEN, "table", "test"))
    agreement = ["vqa-accuracy", "vqa-accuracy-always"]
    kinds = [f"vqa-accuracy/answer-type={one}" for one in ("number", "other", "yes/no")]
    kinds += [f"vqa-accuracy/question-type={one}" for one in ("is it", "what color", "what is")]
    assert list(found) == ["accuracy", *agreement, *kinds, *WORDS, *TRUST]
    assert found["accuracy"] == 0.25
    assert found["vqa-accuracy"] == pytest.approx((1 + 0.9 + 0.6 + 1) / 4)
    assert found["vqa-accuracy/answer-type=other"] == pytest.approx((1 + 0.6) / 2)
    assert found["vqa-accuracy/answer-type=yes/no"] == pytest.approx(0.9)
    assert found["vqa-accuracy/answer-type=number"] == 1.0
    assert found["vqa-accuracy/question-type=what is"] == pytest.approx(0.6)


def test_the_unanimous_quirk_shows_in_one_variant_only() -> None:
    found = values(score([asked("1", *["red"] * 10)], [Answer("the red", 1.0)], "table", "test"))
    assert (found["vqa-accuracy"], found["vqa-accuracy-always"]) == (0.0, 1.0)


def test_single_answers_have_accuracy_by_type() -> None:
    examples = [asked("1", "red", kind="color"), asked("2", "no"), asked("3", "x", kind="color")]
    metrics = score(examples, GIVEN[:3], "table", "test")
    found = {one.name: one for one in metrics}
    assert found["accuracy/answer-type=color"].value == 0.5
    assert found["accuracy/answer-type=color"].questions == 2
    assert [name for name in found if "/" in name] == ["accuracy/answer-type=color"]


def test_signatures_name_metric_data_split_and_count() -> None:
    for metric in score(TEN, TEN_GIVEN, "table", "mine"):
        parts = metric.signature.split("|")
        assert parts[:2] == [metric.name, "v1"]
        assert parts[-3:] == ["data:table", "split:mine", f"n:{metric.questions}"]
        assert metric.questions == (4 if "/" not in metric.name else metric.questions) > 0
        assert (metric.split, metric.data_sha256) == ("mine", digest(TEN))
        assert -100 <= metric.value <= 1


def test_intervals_hold_the_value_and_go_with_the_headline_numbers() -> None:
    metrics = score(TEN, TEN_GIVEN, "table", "test")
    with_interval = [one for one in metrics if one.interval]
    headline = [one.name for one in with_interval if "/" not in one.name]
    assert headline == ["accuracy", "vqa-accuracy"]
    assert all(one.interval for one in metrics if "/" in one.name), "and with their parts"
    for metric in with_interval:
        assert metric.interval is not None
        assert metric.interval[0] <= metric.value <= metric.interval[1]


def test_questions_without_answers_are_not_scored_nor_counted() -> None:
    metrics = score([asked("0"), *SINGLE], [Answer("x", 1.0), *GIVEN], "table", "test")
    assert metrics == score(SINGLE, GIVEN, "table", "test")
    assert metrics[0].questions == 4


def test_nothing_labelled_is_an_error() -> None:
    with pytest.raises(DataError, match="'test' of 'table' has no answers"):
        score([asked("1"), asked("2")], GIVEN[:2], "table", "test")


def test_examples_and_answers_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="shorter"):
        score(SINGLE, GIVEN[:3], "table", "test")


def test_what_a_constant_scores_and_what_a_list_can_reach() -> None:
    single = values(score(SINGLE, GIVEN, "table", "test", KNOWN))
    assert single["constant-answer-accuracy"] == 0.25
    assert single["known-answer-share"] == 0.75
    assert "constant-answer-vqa-accuracy" not in single
    ten = values(score(TEN, TEN_GIVEN, "table", "test", KNOWN))
    assert ten["constant-answer-vqa-accuracy"] == 0.25


def test_accuracy_by_how_often_the_answer_was_learnt() -> None:
    known = AnswerList(("a", "b", "c", "d", "e", "f"), (1000, 999, 100, 99, 10, 9))
    texts = ["a", "A.", "b", "c", "d", "e", "f", "unheard", "unheard"]
    examples = [asked(str(row), text) for row, text in enumerate(texts)]
    said = ["a", "b", "b", "x", "d", "x", "f", "x", "unheard"]
    metrics = score(examples, [Answer(text, 0.5) for text in said], "table", "test", known)
    found = {
        one.name.partition("=")[2]: (one.value, one.questions, one.signature)
        for one in metrics
        if "answer-count" in one.name
    }
    # a twice, one right; b right, c wrong; d right, e wrong; f right; unheard: one of two right
    assert list(found) == ["0", "1-9", "10-99", "100-999", "1000+"]
    assert [value for value, _, _ in found.values()] == [0.5, 1.0, 0.5, 0.5, 0.5]
    assert [count for _, count, _ in found.values()] == [2, 1, 2, 2, 2]
    for group, (_, count, signature) in found.items():
        assert signature.startswith(f"accuracy/answer-count={group}|v1|rule:most-frequent-v1|")
        assert signature.endswith(f"|counts:training answers|data:table|split:test|n:{count}")


def test_only_groups_that_occur_and_lists_that_were_counted_have_it() -> None:
    found = values(score(SINGLE, GIVEN, "table", "test", KNOWN))
    # red 5, no 3 and two 1 are known, of which red and two were given; a cat is not known
    assert found["accuracy/answer-count=0"] == 0.0
    assert found["accuracy/answer-count=1-9"] == pytest.approx(2 / 3)
    assert len([name for name in found if "answer-count" in name]) == 2
    uncounted = AnswerList(("red", "no"), (0, 0))
    for known in (None, uncounted):
        names = values(score(SINGLE, GIVEN, "table", "test", known))
        assert not [name for name in names if "answer-count" in name]


def test_without_confidences_only_accuracies_are_left() -> None:
    unsure = [GIVEN[0], Answer("yes", math.nan), *GIVEN[2:]]
    assert list(values(score(SINGLE, unsure, "table", "test"))) == ["accuracy", *WORDS]


def test_reliability_uses_the_headline_score() -> None:
    found = values(score(SINGLE, GIVEN, "table", "test"))
    # Ranked: red 0.9 right, two 0.7 right, cat 0.5 wrong, yes 0.2 wrong.
    assert found["coverage-at-1-percent-risk"] == 0.5
    assert found["risk-coverage-area"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert found["effective-reliability-1-best"] == 0.5
    assert found["effective-reliability-10-all"] == -4.5
    assert found["calibration-error"] == pytest.approx((0.1 + 0.2 + 0.5 + 0.3) / 4)


# ---- answerability ------------------------------------------------------------------------------

VIZWIZ = [
    asked("a.jpg", *["red"] * 10, answerable=True),
    asked("b.jpg", *["unanswerable"] * 10, answerable=False),
    asked("c.jpg", *["no"] * 10, answerable=True),
    asked("d.jpg", *["unsuitable"] * 10, answerable=False),
]
CHANCES = (0.9, 0.2, 0.6, 0.7)
ASKED = [Answer("red", 0.5, answerable=chance) for chance in CHANCES]


def test_vizwiz_adds_its_own_accuracy_and_answerability() -> None:
    found = values(score(VIZWIZ, ASKED, "vizwiz", "val"))
    assert found["vizwiz-accuracy"] == 0.25
    assert found["unanswerable-share"] == 0.5
    # Answerable, ranked: a (yes), d, c (yes), b. Unanswerable, ranked: b (yes), c, d (yes), a.
    assert found["answerability-ap-answerable"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["answerability-ap-unanswerable"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["answerability-f1"] == pytest.approx(2 / 3)  # b is told, d is not


def test_answerability_agrees_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    able = rng.random(100) > 0.3
    examples = [asked(str(row), "red", answerable=bool(one)) for row, one in enumerate(able)]
    chance = np.round(rng.random(100), 2)
    answers = [Answer("red", 0.5, answerable=float(one)) for one in chance]
    found = values(score(examples, answers, "vizwiz", "val"))
    for name, positive, value in (("answerable", able, chance), ("unanswerable", ~able, -chance)):
        expected = metrics.average_precision_score(positive, value)
        assert found[f"answerability-ap-{name}"] == pytest.approx(expected)
    expected = metrics.f1_score(~able, 1 - chance > 0.5)
    assert found["answerability-f1"] == pytest.approx(expected)


def test_heads_without_answerability_have_only_the_share() -> None:
    found = values(score(VIZWIZ, [Answer("red", 0.5)] * 4, "vizwiz", "val"))
    assert [name for name in found if "answerab" in name] == ["unanswerable-share"]


def test_where_all_can_be_answered_there_is_no_precision_of_the_others() -> None:
    found = values(score(VIZWIZ[::2], ASKED[::2], "vizwiz", "val"))
    assert "answerability-ap-unanswerable" not in found
    assert found["answerability-ap-answerable"] == 1.0


def test_data_where_nobody_said_has_no_answerability() -> None:
    found = values(score([*VIZWIZ, TEN[0]], [*ASKED, ASKED[0]], "vizwiz", "val"))
    assert not [name for name in found if "answerab" in name or "vizwiz" in name]


# ---- WUPS ---------------------------------------------------------------------------------------


@pytest.fixture
def no_wordnet(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise DataError("WUPS needs WordNet.")

    monkeypatch.setattr(wups_metric, "wordnet_similarity", missing)


@pytest.mark.usefixtures("no_wordnet")
def test_wups_without_wordnet_is_reported_or_an_error_where_it_was_asked_for() -> None:
    lines: list[str] = []
    found = values(score(SINGLE, GIVEN, "daquar", "test", report=lines.append))
    assert not [name for name in found if "wups" in name]
    assert lines == ["Left out WUPS: WUPS needs WordNet."]
    with pytest.raises(DataError, match="WUPS needs WordNet"):
        score(SINGLE, GIVEN, "table", "test", wups=True)
    for data, wanted in (("daquar", False), ("table", None)):
        score(SINGLE, GIVEN, data, "test", wups=wanted, report=lines.append)
    assert len(lines) == 1


def test_wups_is_the_mean_at_both_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    def near(first: str, second: str) -> float:
        return 1.0 if first == second else 0.5

    monkeypatch.setattr(wups_metric, "wordnet_similarity", lambda: near)
    found = values(score(SINGLE, GIVEN, "daquar", "test"))
    assert found["wups-0.0"] == pytest.approx((1 + 0.5 + 0.5 + 1) / 4)
    assert found["wups-0.9"] == pytest.approx((1 + 0.05 + 0.05 + 1) / 4)


# ---- quick, and as JSON -------------------------------------------------------------------------


def test_quick_metrics_are_a_part_of_the_full_ones() -> None:
    quick = score(TEN, TEN_GIVEN, "table", "val", KNOWN, quick=True)
    everything = {one.name: one for one in score(TEN, TEN_GIVEN, "table", "val", KNOWN)}
    assert [one.name for one in quick] == [
        "accuracy",
        "vqa-accuracy",
        "constant-answer-accuracy",
        "constant-answer-vqa-accuracy",
        "known-answer-share",
    ]
    for one in quick:
        full = everything[one.name]
        assert (one.value, one.signature) == (pytest.approx(full.value), full.signature)


def test_metrics_as_json_are_under_their_names_without_absent_intervals() -> None:
    found = by_name(score(SINGLE, GIVEN, "table", "test"))
    assert found["accuracy"]["questions"] == 4
    assert len(found["accuracy"]["interval"]) == 2
    assert "interval" not in found["chrf"]


def test_bleu_of_more_words_than_few_answers_have_is_undefined_and_says_how_few() -> None:
    examples = [asked(str(n), "red") for n in range(97)]
    examples += [asked("long", "a red car there"), asked("a", "two cars"), asked("b", "two dogs")]
    metrics = score(examples, [Answer("red", 1.0)] * 100, "table", "test")
    told = {m.name: m.undefined for m in metrics if m.name.startswith("bleu-")}
    assert told == {
        "bleu-1": None,
        "bleu-2": None,
        "bleu-3": "only 1 of 100 answers of people have 3 words",
        "bleu-4": "only 1 of 100 answers of people have 4 words",
    }
