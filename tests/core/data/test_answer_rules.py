"""Which answers a question teaches: every rule on examples made by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqazoo.data import Example
from vqazoo.data.answers import (
    RULE_NAMES,
    SEVERAL,
    apply_rule,
    leave_one_out,
    levenshtein,
    select_answer,
)
from vqazoo.errors import DataError


def asked(
    answers: Sequence[str], question_id: str = "1", confidences: Sequence[str] = ()
) -> Example:
    return Example(
        Path("image.png"), "what?", tuple(answers), question_id, confidences=tuple(confidences)
    )


def learnt(rule: str, *examples: Example, seed: int = 0) -> dict[str, str]:
    """The answer learnt from each question that is left."""
    return {one.question_id: one.target for one in apply_rule(rule, examples, seed)}


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_questions_without_answers_are_left_out_and_others_stay_in_order(rule: str) -> None:
    yes = ("yes", "yes")
    examples = [
        asked(["on the table", "on the table"], "b", yes),
        asked([], "empty"),
        asked(["", " . "], "blank", yes),
        asked(["Under The Red Bed."] * 2, "a", yes),
    ]
    found = apply_rule(rule, examples, seed=0)
    assert [one.question_id for one in found] == ["b", "a"]
    assert [one.target for one in found] == ["on the table", "under the red bed"]
    assert [one.answers for one in found] == [examples[0].answers, examples[3].answers]


@pytest.mark.parametrize("rule", [name for name in RULE_NAMES if name not in SEVERAL])
def test_every_rule_of_one_answer_teaches_one_answer_in_full(rule: str) -> None:
    answers = ["in the red bag", "in the red bag", "in the blue bag"]
    (found,) = apply_rule(rule, [asked(answers, confidences=["yes"] * 3)], seed=0)
    assert [weight for _, weight in found.targets] == [1.0]


def test_most_frequent_counts_normalised_answers_and_breaks_ties_alphabetically() -> None:
    assert learnt("most-frequent", asked(["Red.", "red", "blue", "cat", "blue ", "RED"])) == {
        "1": "red"
    }
    assert learnt("most-frequent", asked(["red", "blue"])) == {"1": "blue"}


def test_confident_counts_only_answers_people_were_sure_of() -> None:
    answers = ["blue", "blue", "red", "blue"]
    sure = asked(answers, confidences=["maybe", "no", "yes", "maybe"])
    assert learnt("confident", sure) == {"1": "red"}
    assert learnt("confident", asked(answers, confidences=["no"] * 4)) == {}


def test_confident_without_confidences_is_an_error_that_names_the_question() -> None:
    with pytest.raises(DataError, match=r"'confident' needs the confidence.*'q7' has none.*rule"):
        apply_rule("confident", [asked(["red"], "q7")], seed=0)


# ---- sampled ------------------------------------------------------------------------------------

MANY = [asked(["red", "Red", "red", "blue"], str(number)) for number in range(400)]


def test_sampled_depends_on_seed_and_question_only() -> None:
    found = learnt("sampled", *MANY)
    assert learnt("sampled", *MANY) == found
    assert learnt("sampled", *reversed(MANY)) == found
    assert learnt("sampled", MANY[7]) == {"7": found["7"]}
    assert learnt("sampled", *MANY, seed=1) != found


def test_sampled_draws_answers_as_often_as_people_gave_them() -> None:
    found = list(learnt("sampled", *MANY).values())
    assert set(found) == {"red", "blue"}
    assert found.count("red") / len(found) == pytest.approx(0.75, abs=0.07)


def test_sampled_is_the_same_in_every_process() -> None:
    example = asked(["a", "b", "c", "d"], "q")
    drawn = [learnt("sampled", example, seed=seed)["q"] for seed in range(4)]
    assert drawn == [random.Random(f"{seed}/q").choice("abcd") for seed in range(4)]


# ---- soft ---------------------------------------------------------------------------------------


def test_soft_weights_answers_by_their_vqa_accuracy() -> None:
    answers = ["d"] * 4 + ["c", "c", "C."] + ["b"] * 2 + ["a"]
    (found,) = apply_rule("soft", [asked(answers)], seed=0)
    assert [text for text, _ in found.targets] == ["d", "c", "b", "a"]
    assert [weight for _, weight in found.targets] == pytest.approx([1.0, 0.9, 0.6, 0.3])


def test_share_weights_answers_by_how_many_gave_them() -> None:
    (found,) = apply_rule("share", [asked(["red"] * 6 + ["dark red"] * 3 + ["Red"])], seed=0)
    assert found.targets == (("red", 0.7), ("dark red", 0.3))
    (empty,) = apply_rule("share", [asked(["a", "", "b", "b", ""])], seed=0)
    assert sum(weight for _, weight in empty.targets) == pytest.approx(1.0)


def test_soft_sorts_equal_weights_alphabetically_and_knows_a_single_answer() -> None:
    (found,) = apply_rule("soft", [asked(["z", "b"] * 5)], seed=0)
    assert found.targets == (("b", 1.0), ("z", 1.0))
    (single,) = apply_rule("soft", [asked(["red"])], seed=0)
    assert single.targets == (("red", 1.0),)


def test_a_blank_answer_is_a_person_who_said_something_else() -> None:
    (found,) = apply_rule("soft", [asked(["red"] + [""] * 2 + ["blue"] * 7)], seed=0)
    assert dict(found.targets) == pytest.approx({"blue": 1.0, "red": 0.3})


@given(st.integers(2, 15), st.data())
def test_leave_one_out_is_the_mean_over_people(total: int, data: st.DataObject) -> None:
    matches = data.draw(st.integers(0, total))
    said = [True] * matches + [False] * (total - matches)
    each = [min(1, sum(said[:one] + said[one + 1 :]) / 3) for one in range(total)]
    assert leave_one_out(matches, total) == pytest.approx(sum(each) / total)


# ---- three words --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["on the table"], {"1": "on the table"}),
        (["red"], {}),
        (["red car"], {}),
        (["red", "red", "on the table"], {}),  # the most frequent one decides
        (["on  the\ttable", "On the table.", "red"], {"1": "on the table"}),
        (["stop-sign-post"], {}),
    ],
)
def test_three_words_keeps_long_answers_only(answers: list[str], expected: dict[str, str]) -> None:
    assert learnt("three-words", asked(answers)) == expected


# ---- three levels -------------------------------------------------------------------------------


def test_level_one_the_most_frequent_answer_wins_whatever_others_say() -> None:
    others = [asked(["ant"] * 9, str(number)) for number in range(2, 9)]
    assert learnt("three-level", asked(["zebra", "zebra", "ant"]), *others)["1"] == "zebra"


def test_level_two_of_equals_the_one_most_frequent_in_all_questions_wins() -> None:
    question = asked(["ant", "zebra", "Ant", "zebra", "cow"])
    assert learnt("three-level", question)["1"] == "ant"  # a tie at every level
    other = asked(["cow", "cow", "cow", "Zebra."], "2")  # given, though not chosen
    assert learnt("three-level", question, other) == {"1": "zebra", "2": "cow"}


def test_level_three_of_equals_the_most_representative_wins() -> None:
    # red-car is 1 away from red-cat, and both are far from azure.
    assert learnt("three-level", asked(["azure", "red car", "red cat"]))["1"] == "red car"
    # Distances are taken to all answers, not only to the tied ones: `reds` is near `redss`.
    answers = ["blue", "blue", "reds", "reds", "redss"]
    assert learnt("three-level", asked(answers))["1"] == "reds"
    # Distances count as often as an answer was given: `aaac` is near a, but `bbbc` was said twice.
    answers = ["aaaa"] * 3 + ["bbbb"] * 3 + ["bbbc"] * 2 + ["aaac"]
    assert learnt("three-level", asked(answers))["1"] == "bbbb"


def test_level_four_of_equals_the_first_in_the_alphabet_wins() -> None:
    assert learnt("three-level", asked(["dog", "cat"]))["1"] == "cat"
    assert learnt("three-level", asked(["cat", "dog"]))["1"] == "cat"


@given(st.lists(st.sampled_from(["red", "Red", "reds", "blue", "", "a"]), max_size=6))
def test_three_levels_choose_one_of_the_most_frequent(answers: list[str]) -> None:
    found = learnt("three-level", asked(answers))
    assert found == learnt("three-level", asked(answers[::-1]))
    if not select_answer(answers):
        assert found == {}
        return
    counts = [one.strip().casefold() for one in answers if one]
    assert counts.count(found["1"]) == max(counts.count(one) for one in counts)


def edits(first: str, second: str) -> int:
    """The definition, without a table."""
    if not first or not second:
        return len(first) + len(second)
    return min(
        edits(first[1:], second) + 1,
        edits(first, second[1:]) + 1,
        edits(first[1:], second[1:]) + (first[0] != second[0]),
    )


@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
def test_levenshtein_is_what_the_recursion_says(first: str, second: str) -> None:
    assert levenshtein(first, second) == edits(first, second)


def test_known_levenshtein_distances() -> None:
    assert levenshtein("kitten", "sitting") == 3
    assert levenshtein("", "abc") == levenshtein("abc", "") == 3
