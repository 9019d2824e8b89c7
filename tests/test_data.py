"""Questions that are refused, splits by image, and the digest of examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from vqazoo.data import Example, check_question, digest, split_by_image
from vqazoo.errors import DataError, QuestionError


def examples(images: int, each: int = 3) -> list[Example]:
    return [
        Example(Path(f"{image}.png"), f"question {i}?", ("yes",), f"{image}-{i}")
        for i in range(each)
        for image in range(images)
    ]


def test_questions_are_stripped_and_bad_ones_refused() -> None:
    assert check_question("  what is this?\n") == "what is this?"
    assert check_question("日本語は? 😀") == "日本語は? 😀"
    assert len(check_question("x" * 2000)) == 2000
    for question, said in (
        ("", "The question is empty"),
        (" \n ", "The question is empty"),
        ("x" * 10_000, "has 10,000 characters, but at most 2,000 are read"),
        ("caf\udce9?", r"holds the broken character '\\udce9'"),
    ):
        with pytest.raises(QuestionError, match=said):
            check_question(question)


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.3, 0.99, 1.0])
def test_no_image_is_on_both_sides_and_no_question_is_lost(fraction: float) -> None:
    everything = examples(20)
    kept, held_out = split_by_image(everything, fraction, seed=0)
    assert kept
    assert held_out
    assert not {e.image for e in kept} & {e.image for e in held_out}
    order = {e.question_id: i for i, e in enumerate(everything)}
    for side in (kept, held_out):
        places = [order[e.question_id] for e in side]
        assert places == sorted(places)
    assert len(kept) + len(held_out) == len(everything)
    assert len({e.image for e in held_out}) == min(max(1, round(20 * fraction)), 19)


def test_the_split_depends_on_the_seed_alone() -> None:
    everything = examples(20)
    again = split_by_image(everything[::-1], 0.3, seed=0)[1]
    assert {e.image for e in split_by_image(everything, 0.3, seed=0)[1]} == {e.image for e in again}
    other = split_by_image(everything, 0.3, seed=1)[1]
    assert {e.image for e in other} != {e.image for e in again}
    with pytest.raises(DataError, match="there is 1 distinct image, but at least 2 are needed"):
        split_by_image(examples(1), 0.3, seed=0)


def test_the_digest_tells_any_change_but_that_of_the_folder() -> None:
    plain = Example(Path("a/1.png"), "what?", ("cat", "dog"), "1")
    moved = Example(Path("b/1.png"), "what?", ("cat", "dog"), "1")
    assert digest([plain]) == digest([moved])
    others = [
        Example(Path("a/2.png"), "what?", ("cat", "dog"), "1"),
        Example(Path("a/1.png"), "who?", ("cat", "dog"), "1"),
        Example(Path("a/1.png"), "what?", ("catdog",), "1"),
        Example(Path("a/1.png"), "what?", ("dog", "cat"), "1"),
        Example(Path("a/1.png"), "what?", ("cat", "dog"), "2"),
    ]
    digests = {digest(rows) for rows in ([plain], [plain, plain], [], *([o] for o in others))}
    assert len(digests) == 8
