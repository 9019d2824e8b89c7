"""VQA accuracy: published vectors, brute force, and numbers of real data."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqazoo.data import Example
from vqazoo.evaluation.metrics.vqa_accuracy import (
    CONTRACTIONS,
    accuracy,
    accuracy_always,
    accuracy_vizwiz,
    official_form,
)

Variant = Callable[[str, Sequence[str]], float]
VARIANTS: tuple[Variant, ...] = (accuracy, accuracy_always, accuracy_vizwiz)
WORDS = st.sampled_from(["red", "Red", "the red", "blue", "2", "two", "no!", "", "dont"])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The Red-Car", "red car"),
        ("t-shirt", "t shirt"),
        ("black/white", "black white"),
        ("two", "2"),
        ("None", "0"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("10.", "10"),
        ("U.S.A.", "usa"),
        ("yes.", "yes"),
        ("no!", "no"),
        ("a, b", "b"),
        ("Coca-Cola, diet", "coca cola diet"),
        ("dont know", "don't know"),
        ("a", ""),
        ("$5.00", "$5.00"),
        ("it's 10:30", "it's 10:30"),
    ],
)
def test_published_examples_are_normalised_as_by_the_reference(answer: str, expected: str) -> None:
    assert official_form(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (" red\ncar\t", "red car"),
        ("b-c d", "b c d"),
        ("b - c-d", "b cd"),  # a blank beside one dash deletes every dash
        ("1,2 b/c", "12 bc"),  # digit,digit deletes every mark
        ("b,c?d", "b c d"),
        ("(red)", "red"),
        ("100% b&c 'tis", "100% b&c 'tis"),
        ("An owl the cat A", "owl cat"),
        ("zero one two three four five", "0 1 2 3 4 5"),
        ("six seven eight nine ten eleven", "6 7 8 9 10 eleven"),
        ("couldnt've couldn'tve wont Im", "couldn't've couldn't've won't im"),
        ("somebody'd twas", "somebodyd 'twas"),
        ("none.", "0"),
        (".5 5.", ".5 5"),
        ("", ""),
        ("İ", "i̇"),
    ],
)
def test_marks_numbers_articles_and_contractions(answer: str, expected: str) -> None:
    assert official_form(answer) == expected


def test_at_most_32_full_stops_are_removed() -> None:
    assert official_form("." * 32 + "x") == "x"
    assert official_form("." * 33 + "x") == ".x"
    assert official_form("b." * 40) == "b" * 33 + ".b" * 7 + "."


def test_contractions_never_map_a_word_to_itself_or_from_a_capital() -> None:
    assert len(CONTRACTIONS) == 114  # 121 of the reference, less 3 identities and 4 capitals
    for short, word in CONTRACTIONS.items():
        assert short != word
        assert short == short.lower()
        assert short.replace("'", "") == word.replace("'", "")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("matches", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (7, 1.0), (10, 1.0)]
)
def test_ten_people_give_0_3_6_9_10_tenths(variant: Variant, matches: int, expected: float) -> None:
    people = ["red"] * matches + [f"other {number}" for number in range(10 - matches)]
    assert variant("red", people) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("people", "expected"),
    [
        (["red"], 1.0),  # with nobody else to ask, right is right
        (["blue"], 0.0),
        (["red", "red"], 1 / 3),
        (["red", "red", "red"], 2 / 3),
        (["red"] * 4, 1.0),
        (["red", "blue"], 1 / 6),
        (["red"] * 3 + ["blue"] * 17, 3 / 20 * 2 / 3 + 17 / 20),
        (["red"] * 10 + ["blue"] * 10, 1.0),
    ],
)
def test_fewer_or_more_than_ten_people(people: list[str], expected: float) -> None:
    for variant in VARIANTS:
        assert variant("red", people) == pytest.approx(expected, abs=1e-12)


def brute_force(answer: str, people: list[str]) -> float:
    """Each person left out by index, as the definition reads."""
    scores = []
    for left_out in range(len(people)):
        others = [one for index, one in enumerate(people) if index != left_out]
        scores.append(min(1.0, sum(one == answer for one in others) / 3))
    return sum(scores) / len(scores)


@given(WORDS, st.lists(WORDS, min_size=2, max_size=14))
def test_people_are_left_out_one_by_one_even_if_they_agree(answer: str, people: list[str]) -> None:
    wanted = official_form(answer)
    normalised = [official_form(one) for one in people]
    assert accuracy_always(answer, people) == pytest.approx(brute_force(wanted, normalised))
    assert accuracy_vizwiz(answer, people) == pytest.approx(brute_force(wanted, people))
    unanimous = len(set(people)) == 1
    reference = brute_force(answer, people) if unanimous else brute_force(wanted, normalised)
    assert accuracy(answer, people) == pytest.approx(reference)


@given(WORDS, st.lists(WORDS, min_size=1, max_size=10), st.randoms(use_true_random=False))
def test_the_order_of_people_does_not_matter(
    answer: str, people: list[str], rng: random.Random
) -> None:
    shuffled = rng.sample(people, len(people))
    for variant in VARIANTS:
        assert variant(answer, shuffled) == variant(answer, people)


@given(st.text(max_size=20))
def test_what_all_ten_say_scores_one(answer: str) -> None:
    assert accuracy(answer, [answer] * 10) == 1.0
    assert accuracy_always(answer, [answer] * 10) == 1.0


@pytest.mark.parametrize(
    ("answer", "said"), [("Red", "red"), ("the red", "red"), ("two", "2"), ("red.", "red")]
)
def test_nothing_is_normalised_where_all_agree(answer: str, said: str) -> None:
    assert accuracy(answer, [said] * 10) == 0.0
    assert accuracy_always(answer, [said] * 10) == 1.0
    assert accuracy(answer, [said] * 9 + ["blue"]) == 1.0


def test_blanks_and_line_breaks_are_no_disagreement() -> None:
    assert accuracy("Red", ["red", " red", "red\n", *["red"] * 7]) == 0.0
    assert accuracy(" red\t", ["red"] * 10) == 1.0


def test_vizwiz_leaves_what_people_said_as_it_is() -> None:
    people = ["Red"] * 9 + ["blue"]
    assert accuracy_vizwiz("red", people) == accuracy_vizwiz("Red", people) == 0.0
    assert accuracy("Red", people) == 1.0
    assert accuracy_vizwiz("The Blue.", people) == pytest.approx(0.3)


# ---- real data ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vizwiz() -> list[Example]:
    folder = Path(os.environ.get("VQAZOO_TEST_DATA", "")) / "vizwiz_2018_val"
    if not os.environ.get("VQAZOO_TEST_DATA") or not folder.is_dir():
        pytest.skip("needs VizWiz 2018 val in the folder named by VQAZOO_TEST_DATA")
    from vqazoo_datasets.vizwiz import VizWiz

    return VizWiz(str(folder)).read("val")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("constant", "expected"), [("unanswerable", 33.10), ("no", 4.93)])
def test_constant_answers_on_vizwiz(
    vizwiz: list[Example], variant: Variant, constant: str, expected: float
) -> None:
    mean = sum(variant(constant, example.answers) for example in vizwiz) / len(vizwiz)
    assert len(vizwiz) == 3172
    assert round(100 * mean, 2) == expected


def test_a_constant_answer_scores_bleu_1_on_vizwiz_as_its_card_says() -> None:
    """CLIP+LSTM's published BLEU is of single answers; of the corpus it is another number."""
    from vqazoo.data.answers import select_answer
    from vqazoo.evaluation.metrics.words import bleu

    folder = Path(os.environ.get("VQAZOO_TEST_DATA", "")) / "vizwiz_2018_val"
    if not (folder / "val.json").is_file():
        pytest.skip("VQAZOO_TEST_DATA names no folder with vizwiz_2018_val")
    records = json.loads((folder / "val.json").read_text(encoding="utf-8"))
    truths = [select_answer([one["answer"] for one in record["answers"]]) for record in records]
    found = bleu(["unanswerable"] * len(truths), truths)
    assert len(truths) == 3172
    assert found.sentence_1 == pytest.approx(0.1967, abs=5e-5)
    assert found.corpus[0] == pytest.approx(0.1275, abs=5e-5)
