"""Changes to pictures and words, and which questions say the same or the opposite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vqazoo.data import Example, open_dataset
from vqazoo.evaluation.checks.asking import deranged, sampled
from vqazoo.evaluation.checks.changes import (
    CORRUPTIONS,
    STRENGTHS,
    Corruption,
    as_seen,
    blank,
    corrupted,
)
from vqazoo.evaluation.checks.words import (
    are_opposite,
    claim_of,
    opposites,
    rephrasings,
    shuffled_words,
)
from vqazoo.interfaces import Preprocess

PREPROCESS = Preprocess((64, 48), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), mode="crop", resize=64)


def asked(number: int, picture: int, question: str = "what?", group: str = "") -> Example:
    return Example(Path(f"{picture}.png"), question, ("red",), str(number), rephrasing_of=group)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda kind: kind.name)
def test_a_stronger_corruption_changes_more_and_a_seed_repeats_it(corruption: Corruption) -> None:
    rng = np.random.default_rng(0)
    picture = torch.from_numpy(rng.integers(0, 256, (3, 60, 80), dtype=np.uint8))
    picture[:, 20:40, 20:60] = torch.tensor([250, 10, 10], dtype=torch.uint8)[:, None, None]
    state = torch.random.get_rng_state()
    changed = [corrupted(picture, corruption, strength, 3) for strength in STRENGTHS]
    assert torch.equal(torch.random.get_rng_state(), state), "the user's own numbers go on"
    assert all(image.size == (80, 60) and image.mode == "RGB" for image in changed)
    away = [
        np.abs(np.asarray(image, float).transpose(2, 0, 1) - picture.numpy()).mean()
        for image in changed
    ]
    assert 0 < away[0] <= away[1] <= away[2] or corruption.name == "rotated"
    again = [corrupted(picture, corruption, strength, 3) for strength in STRENGTHS]
    assert [image.tobytes() for image in again] == [image.tobytes() for image in changed]
    if corruption.name == "noise":
        assert corrupted(picture, corruption, 1, 4).tobytes() != changed[0].tobytes()


def test_dark_and_turned_pictures_are_what_pillow_makes() -> None:
    picture = as_seen(Image.linear_gradient("L").convert("RGB").resize((64, 64)), PREPROCESS)
    plain = np.asarray(Image.fromarray(picture.numpy().transpose(1, 2, 0)))
    by_name = {kind.name: kind for kind in CORRUPTIONS}
    dark = np.asarray(corrupted(picture, by_name["dark"], 3, 0), float)
    assert dark == pytest.approx(0.15 * plain, abs=1)
    turned = np.asarray(corrupted(picture, by_name["rotated"], 3, 0), float)
    assert np.abs(turned - np.rot90(plain)).mean() < 3  # 90 degrees


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (500, 40), (64, 64)])
def test_pictures_of_any_size_can_be_damaged(size: tuple[int, int]) -> None:
    seen = as_seen(Image.new("RGB", size, (10, 200, 30)), PREPROCESS)
    for kind in CORRUPTIONS:
        assert corrupted(seen, kind, 3, 0).size == (seen.shape[2], seen.shape[1])


def test_a_blank_picture_has_the_mean_colour_of_the_encoder() -> None:
    picture = blank(PREPROCESS)
    assert picture.size == (48, 64)
    assert picture.getcolors() == [(48 * 64, (128, 102, 76))]


@given(st.lists(st.integers(1, 5), min_size=2, max_size=12), st.integers(0, 9))
def test_no_picture_keeps_its_own_questions_and_none_is_lost(sizes: list[int], seed: int) -> None:
    rows = iter(range(sum(sizes)))
    groups = [[next(rows) for _ in range(size)] for size in sizes]
    shown = deranged(groups, seed)
    assert all(list(mine) != list(other) for mine, other in zip(groups, shown, strict=True))
    assert sorted(row for group in shown for row in group) == list(range(sum(sizes)))


@given(st.lists(st.integers(0, 8), min_size=1, max_size=40), st.integers(1, 30), st.integers(0, 5))
def test_whole_pictures_are_drawn_and_no_more_rows_than_wanted(
    of_each: list[int], most: int, seed: int
) -> None:
    examples = [asked(row, picture) for row, picture in enumerate(of_each)]
    sample = sampled(examples, examples, of_each, most, seed)
    assert 0 < len(sample.examples) <= most
    assert sample == sampled(examples, examples, of_each, most, seed)
    ids = [int(example.question_id) for example in sample.examples]
    assert ids == sorted(set(ids)), "in the order of the split"
    whole = all(
        of_each.count(picture) == list(sample.pictures).count(picture)
        for picture in set(sample.pictures)
    )
    assert whole or len(set(sample.pictures)) == 1


@given(st.text("ab cd?", max_size=20), st.integers(0, 5))
def test_shuffled_words_are_the_same_words(question: str, seed: int) -> None:
    shuffled = shuffled_words(question, seed)
    assert sorted(shuffled.replace(" ", "")) == sorted(question.replace(" ", ""))


def test_words_change_their_order_where_they_can() -> None:
    question = "is there a red circle?"
    orders = {shuffled_words(question, seed) for seed in range(20)}
    assert question not in orders
    assert len(orders) > 5
    assert all(order.endswith("?") for order in orders)
    assert shuffled_words("what?", 0) == "what?"


@pytest.mark.parametrize(
    ("question", "what", "affirmed"),
    [
        ("is there a red shape in the image?", "red", True),
        ("Is there not a circle?", "circle", False),
        ("does the image contain a gray shape?", "gray", True),
        ("does the image not contain a gray shape?", "gray", False),
        ("is no triangle present?", "triangle", False),
        ("is a triangle present?", "triangle", True),
        ("are there any dogs in this picture?", "dogs", True),
    ],
)
def test_claims_are_read_from_questions(question: str, what: str, affirmed: bool) -> None:
    assert claim_of(question) == (what, affirmed)


def test_other_questions_claim_nothing() -> None:
    for question in ("what color is the shape?", "is it red?", "", "there is a dog", "is a dog"):
        assert claim_of(question) is None


def test_opposite_questions_of_easy_vqa_have_opposite_answers() -> None:
    """The rule holds for every pair that the people of the set answered."""
    pytest.importorskip("easy_vqa", reason="the package easy-vqa is not installed")
    examples = open_dataset("easy-vqa", {}).read("test")
    pairs = opposites(examples, [example.image for example in examples])
    assert len(pairs) == 903
    for first, second in pairs:
        assert are_opposite(examples[first].answers[0], examples[second].answers[0])
        assert examples[first].image == examples[second].image


def test_opposites_are_of_one_picture_and_rephrasings_too() -> None:
    questions = ["is there a dog?", "is there not a dog?", "is there a cat?", "is no dog present?"]
    examples = [asked(n, 0, question) for n, question in enumerate(questions)]
    assert opposites(examples, [0, 0, 0, 0]) == [(0, 1)]
    assert opposites(examples, [0, 1, 0, 2]) == []
    assert are_opposite("Yes", "no.")
    assert not are_opposite("yes", "yes")
    grouped = [asked(7, 0, group="9"), asked(8, 0, group="9"), asked(9, 0), asked(5, 0)]
    assert rephrasings(grouped, [0, 0, 0, 0]) == [[2, 0, 1]]
    assert rephrasings(grouped, [0, 1, 2, 3]) == []
    named = [asked(1, 0, group="same"), asked(2, 0, group="same")]
    assert rephrasings(named, [0, 0]) == [[0, 1]]
