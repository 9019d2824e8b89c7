"""What scores say first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vqazoo.data import Example
from vqazoo.evaluation.metric import Metric, from_json
from vqazoo.evaluation.summary import (
    SetBeside,
    first_lines,
    in_sentences,
    next_step,
    row,
    short,
    value_of,
)

HOW = "accuracy|v1|rule:x|data:table|split:test|n:100"


def metric(name: str, value: float, questions: int = 100, **more: object) -> Metric:
    made = Metric(name, value, "test", questions, HOW, "", "2026-01-01")
    return replace(made, **more)  # type: ignore[arg-type]


SCORES = [
    metric("accuracy", 0.4436, interval=(0.41, 0.47)),
    metric("accuracy/question-type=what", 0.4, 60),
    *(metric(f"accuracy/question-type=rare {n}", 0.4, 5) for n in range(9)),
    metric("accuracy/answer-count=0", 0.0, 3),
    metric("constant-answer-accuracy", 0.12),
    metric("known-answer-share", 0.9),
    metric("squad-f1", 0.45),
    metric("bleu-1", 0.44),
    metric("bleu-2", 0.0, undefined="no answer of people has 2 words"),
    metric("bleu-4", 0.0, undefined="no answer of people has 4 words"),
    metric("chrf", 0.4),
    metric("anls", 0.5, better="higher"),
    metric("calibration-error", 0.03),
    metric("brier-score", 0.2),
]


def test_the_score_comes_first_with_what_it_is_set_beside() -> None:
    beside = SetBeside({"accuracy": 0.2249}, {"accuracy": (0.293, "the paper")})
    assert first_lines(SCORES, beside) == [
        "accuracy 44.36% (95% interval 41.00% to 47.00%) on 100 questions of table, test.",
        "Beside it: always the most frequent answer 12.00%; the question alone 22.49%; published "
        "29.30% (the paper).",
    ]
    assert first_lines(SCORES[:1], SetBeside({"vqa-accuracy": 0.2}, {})) == first_lines(SCORES)[:1]
    assert first_lines([metric("chrf", 0.4)]) == []


def test_agreement_with_people_is_the_score_where_it_is_measured() -> None:
    assert first_lines([*SCORES, metric("vqa-accuracy", 0.5)])[0].startswith("vqa-accuracy 50.00%")


def test_the_short_table_holds_what_is_defined_and_says_something_of_its_own() -> None:
    assert [each.name for each in short(SCORES, sentences=True)] == [
        "accuracy",
        "constant-answer-accuracy",
        "known-answer-share",
        "anls",
        "accuracy/question-type=what",  # and the largest others
        *(f"accuracy/question-type=rare {n}" for n in range(5)),
        "calibration-error",
    ]
    sentences = [replace(each, undefined=None) for each in SCORES]
    names = [each.name for each in short(sentences, sentences=True)]
    assert [name for name in names if name in ("squad-f1", "bleu-4", "bleu-2")] == [
        "squad-f1",
        "bleu-4",
    ]
    two = [each for each in sentences if each.name != "bleu-4"]
    longest = [each.name for each in short(two, sentences=True)]
    assert "bleu-2" in longest  # of as many words as there are


def test_words_are_compared_only_where_most_answers_have_several() -> None:
    defined = [replace(each, undefined=None) for each in SCORES]
    assert not {"squad-f1", "chrf", "bleu-4"} & {each.name for each in short(defined, False)}

    def said(*answers: str) -> list[Example]:
        return [
            Example(Path("1.jpg"), "what?", (answer,) * bool(answer), "1") for answer in answers
        ]

    assert not in_sentences(said("cup", "room divider", "table", ""))
    assert not in_sentences([])
    assert in_sentences(said("a red cup", "a table", "cup"))


def test_no_row_is_wider_than_a_hundred_letters() -> None:
    wide = metric(f"accuracy/question-type={'x' * 90}", 1.0, 1_000_000, interval=(0.99, 1.0))
    assert len("  ".join(row(wide))) <= 100
    assert row(wide)[0].endswith("…")


def test_what_is_undefined_is_no_number() -> None:
    assert [value_of(each) for each in SCORES if each.name == "bleu-2"] == ["undefined"]


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (SCORES, "Next: 'vqazoo errors' groups the mistakes"),
        ([*SCORES[:1], metric("constant-answer-accuracy", 0.4436)], "Next: it is no better than"),
        ([SCORES[0], metric("known-answer-share", 0.6)], "the right answer of 40.00% of the"),
        ([metric("chrf", 0.4)], ""),
    ],
)
def test_one_sentence_says_what_to_do_next(scores: list[Metric], said: str) -> None:
    told = next_step(scores)
    assert said in told
    assert len(told) <= 100 or "no better" in told


def test_a_metric_is_read_as_it_was_written() -> None:
    for each in SCORES:
        assert from_json({**each.to_json(), "of a later release": 1}) == replace(
            each, interval=from_json(each.to_json()).interval
        )
