"""Answers: normalised, selected, listed, stored."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqazoo.data.answers import AnswerList, normalise, select_answer
from vqazoo.errors import CheckpointError, DataError

TEXTS = st.text(max_size=20)


@pytest.mark.parametrize(
    ("given_answer", "expected"),
    [
        ("Yes", "yes"),
        ("  a\t\n b ", "a b"),
        ("yes.", "yes"),
        ("yes .", "yes"),
        ("3.5", "3.5"),
        ("e.g.", "e.g"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("don't know!", "don't know!"),
        ("", ""),
        (" . ", ""),
    ],
)
def test_normalise(given_answer: str, expected: str) -> None:
    assert normalise(given_answer) == expected


@given(TEXTS)
def test_normalised_answers_have_single_spaces_and_no_outer_blanks(answer: str) -> None:
    normalised = normalise(answer)
    assert normalised == normalised.strip()
    assert not re.search(r"\s\s", normalised)


@given(TEXTS)
def test_normalising_twice_changes_nothing(answer: str) -> None:
    assert normalise(normalise(answer)) == normalise(answer)


@given(st.lists(st.sampled_from(["cat", "Cat", "cat.", "dog", "DOG ", "", " ", "owl"])))
def test_the_most_frequent_answer_is_selected_and_ties_are_alphabetical(answers: list[str]) -> None:
    selected = select_answer(answers)
    counts = Counter(normalise(answer) for answer in answers)
    del counts[""]
    if not counts:
        assert selected == ""
        return
    most = max(counts.values())
    assert selected == sorted(text for text, count in counts.items() if count == most)[0]
    assert select_answer(answers[::-1]) == selected


def test_training_answers_are_ranked_counted_and_cut() -> None:
    selected = ["b", "a", "b", "", "c", "a", "b"]
    everything = AnswerList.from_training(selected)
    assert (everything.texts, everything.counts) == (("b", "a", "c"), (3, 2, 1))
    assert everything.coverage == 1.0
    two = AnswerList.from_training(selected, most=2)
    assert (two.texts, two.counts, two.coverage) == (("b", "a"), (3, 2), 5 / 6)
    assert AnswerList.from_training(["b", "a"]).texts == ("a", "b")
    for nothing in ([], [""]):
        with pytest.raises(DataError, match="have no answers"):
            AnswerList.from_training(nothing)


def test_a_given_list_keeps_its_order_and_is_counted_on_the_training_answers() -> None:
    given_list = AnswerList.from_texts(["Yes", "no.", "", "yes", "maybe"], ["no", "no", "blue", ""])
    assert given_list.texts == ("yes", "no", "maybe")
    assert given_list.counts == (0, 2, 0)
    assert given_list.coverage == 2 / 3
    assert AnswerList.from_texts(["a"]).coverage == 1.0


def test_a_list_that_matches_nothing_is_refused() -> None:
    with pytest.raises(DataError, match=r"starts with 'oui', while the most frequent.* is 'yes'"):
        AnswerList.from_texts(["Oui", "non"], ["yes", "no", "yes"])
    for nothing in ([], ["", " . "]):
        with pytest.raises(DataError, match="answer list is empty"):
            AnswerList.from_texts(nothing)


@given(st.lists(TEXTS.filter(bool), min_size=1), st.integers(0, 5))
def test_a_list_is_stored_and_read_back_exactly(selected: list[str], most: int) -> None:
    made = AnswerList.from_training(selected, most)
    saved = json.loads(json.dumps(made.to_json()))
    assert AnswerList.from_json(saved, "answers.json") == made


GOOD = AnswerList(("a", "b"), (2, 1), 0.5).to_json()


@pytest.mark.parametrize(
    "saved",
    [
        None,
        [],
        {},
        {**GOOD, "normaliser": "lower-v2"},
        {**GOOD, "answers": []},
        {**GOOD, "answers": ["a", "a"]},
        {**GOOD, "answers": ["a"]},
        {**GOOD, "answers": [1, 2]},
        {**GOOD, "counts": [1.5, 2]},
        {**GOOD, "coverage": "much"},
        {**GOOD, "coverage": None},
        {key: value for key, value in GOOD.items() if key != "counts"},
        {**GOOD, "answers": [["a"], ["b"]]},
    ],
)
def test_a_stored_list_that_is_anything_else_is_refused(saved: object) -> None:
    with pytest.raises(CheckpointError, match=r"answers\.json is not an answer list"):
        AnswerList.from_json(saved, "answers.json")
    assert AnswerList.from_json(GOOD, "answers.json").texts == ("a", "b")
