"""ANLS, relaxed accuracy and POPE by the rules of their official scorers, worked by hand."""

from __future__ import annotations

import random

import pytest
from nltk import edit_distance

from tests.plugins.metrics.asked import example, measured
from vqazoo.registry import registry
from vqazoo.testing import check_metric


@pytest.mark.parametrize(
    ("people", "given", "expected"),
    [
        (["Coca-Cola"], "coca-cola", 1.0),  # case does not count
        (["30  June"], " 30 june ", 1.0 - 0 / 9),  # nor do blanks
        (["abcd"], "abcx", 0.75),
        (["abcd"], "abxy", 0.5),  # one half is kept
        (["abcd"], "axyz", 0.0),  # less is nothing
        (["nothing like it", "abcd"], "abc", 0.75),  # the nearest counts
        ([""], "", 1.0),
    ],
)
def test_anls_is_that_of_the_competition(people: list[str], given: str, expected: float) -> None:
    assert measured("anls", [(people, given)])[""] == pytest.approx(expected)


def test_anls_counts_edits_as_nltk_does_over_lengths_as_written() -> None:
    rng = random.Random(0)
    rows = []
    for _ in range(60):
        texts = ["".join(rng.choices("aB c", k=rng.randrange(1, 9))) for _ in range(3)]
        rows.append((texts[:2], texts[2]))

    def by_the_rule(people: list[str], given: str) -> float:
        values = []
        for answer in people:
            gold, said = " ".join(answer.lower().split()), " ".join(given.lower().split())
            values.append(edit_distance(gold, said) / max(len(answer), len(given)))
        best = 1 - min(values)
        return best if best >= 0.5 else 0.0

    expected = sum(by_the_rule(*row) for row in rows) / len(rows)
    assert 0 < expected < 1
    assert measured("anls", rows)[""] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("reference", "given", "right"),
    [
        ("100", "105", True),
        ("100", "95.0", True),
        ("100", "105.1", False),
        ("-4", "-4.1", True),
        ("12%", "0.12", True),  # a percentage is divided by 100
        ("12%", "12", False),
        ("2010", "2019", True),  # a year is a number
        ("0", "0", True),
        ("0", "0.0", False),  # nothing is within 5% of 0: word for word
        ("1,000", "1000", False),  # no number to the official code
        ("Blue", "blue", True),
        ("blue", "light blue", False),
        ("5", "five", False),
        ("five", "5", False),
    ],
)
def test_relaxed_accuracy_is_that_of_pix2struct(reference: str, given: str, right: bool) -> None:
    assert measured("relaxed-accuracy", [([reference], given)])[""] == float(right)


def test_any_answer_of_people_makes_a_relaxed_answer_right() -> None:
    assert measured("relaxed-accuracy", [(["7", "10"], "10.4"), (["7"], "8")])[""] == 0.5


@pytest.mark.parametrize(
    ("people", "given", "expected"),
    [
        (["dog"] * 3 + ["cat"] * 7, "dog", 1.0),  # VQA accuracy says 0.9
        (["dog"] * 2 + ["cat"] * 8, "dog", 2 / 3),
        (["dog"] + ["cat"] * 9, "DOG", 1 / 3),  # both in lower case
        (["Dog"] * 10, "dog", 1.0),
        (["dog"] * 10, "dog ", 0.0),  # nothing else is changed
        (["dog"] * 10, "a dog", 0.0),
        (["two"] * 10, "2", 0.0),
        (["dog"] * 10, "", 0.0),
        (["stra\u00dfe"] * 10, "STRASSE", 0.0),  # lower(), which is not casefold()
        (["dog"] * 2, "dog", 2 / 3),  # of three, however many were asked
    ],
)
def test_direct_answers_are_scored_as_by_a_okvqa(
    people: list[str], given: str, expected: float
) -> None:
    assert measured("a-okvqa-direct", [(people, given)])[""] == pytest.approx(expected)


def test_direct_answers_keep_the_contract() -> None:
    asked = [example(number, *["dog", "cat", "ox"][: number + 1] * 3) for number in range(3)]
    check_metric("a-okvqa-direct", examples=asked, answers=["cat"] * 3)


def test_direct_answers_are_none_of_choices() -> None:
    told = registry.build("metric", "a-okvqa-direct")
    asked = [example(0, "yes"), example(1, "yes", choices=("yes", "no"))]
    assert told.undefined(asked) == "1 of 2 have choices, but direct answers have none"


def test_pope_counts_yes_as_its_script_does() -> None:
    rows = [
        (["yes"], "yes"),
        (["yes"], "Yes, there is a dog. It is not brown."),  # the first sentence is yes
        (["yes"], "no"),
        (["no"], "There is not a dog"),
        (["no"], "a cat"),  # neither word: yes
    ]
    told = measured("pope", rows)
    assert told == pytest.approx(
        {
            "pope-accuracy": 3 / 5,
            "pope-precision": 2 / 3,
            "pope-recall": 2 / 3,
            "pope-f1": 2 / 3,
            "pope-yes-share": 3 / 5,
        }
    )


def test_pope_leaves_out_what_nobody_can_divide() -> None:
    assert set(measured("pope", [(["no"], "no")])) == {"pope-accuracy", "pope-yes-share"}
    assert measured("pope", [(["yes"], "no")])["pope-f1"] == 0.0


def test_pope_is_for_yes_and_no_only() -> None:
    why = registry.build("metric", "pope").undefined([example(0, "yes"), example(1, "two")])
    assert "must be yes or no, but that of question 'q1' is 'two'" in why
