"""PHOC against what the definition gives by hand (Almazan et al. 2014, section 3.1)."""

from __future__ import annotations

import pytest
import torch

from vqazoo_heads.phoc import phoc

LEVEL_STARTS = {2: 0, 3: 2 * 36, 4: 5 * 36, 5: 9 * 36}  # as in the published code
BIGRAMS = 14 * 36


def place(level: int, region: int, letter: str) -> int:
    return LEVEL_STARTS[level] + region * 36 + "abcdefghijklmnopqrstuvwxyz0123456789".index(letter)


def ones(word: str) -> set[int]:
    (row,) = phoc([word])
    assert row.shape == (604,)
    assert set(row.tolist()) <= {0.0, 1.0}
    return set(row.nonzero()[:, 0].tolist())


def test_two_letters_fill_the_regions_that_hold_half_of_them() -> None:
    # Of three regions the outer ones hold two thirds of a letter; of five none holds half of one.
    expected = {place(2, 0, "x"), place(2, 1, "q"), place(3, 0, "x"), place(3, 2, "q")}
    expected |= {place(4, 0, "x"), place(4, 1, "x"), place(4, 2, "q"), place(4, 3, "q")}
    assert ones("xq") == expected


def test_one_letter_stands_in_both_halves_and_nowhere_else() -> None:
    assert ones("7") == {place(2, 0, "7"), place(2, 1, "7")}


def test_a_word_of_five_letters_has_one_in_each_fifth() -> None:
    fifths = {index for index in ones("vqxzw") if LEVEL_STARTS[5] <= index < BIGRAMS}
    assert fifths == {place(5, region, letter) for region, letter in enumerate("vqxzw")}


def test_frequent_pairs_are_told_of_both_halves() -> None:
    assert {BIGRAMS, BIGRAMS + 50} <= ones("th")  # the first pair of the list, half in each half
    assert {index for index in ones("thxx") if index >= BIGRAMS} == {BIGRAMS}
    assert {index for index in ones("xxel") if index >= BIGRAMS} == {BIGRAMS + 99}  # the last pair


@pytest.mark.parametrize("word", ["Stop!", "S-T-O-P", "sTöop"])
def test_case_and_other_characters_do_not_count(word: str) -> None:
    assert ones(word) == ones("stop")


def test_a_word_without_letters_is_empty_and_rows_are_in_order() -> None:
    table = phoc(["??", "stop", ""])
    assert table.sum(dim=1).tolist() == [0, len(ones("stop")), 0]
    assert torch.equal(table[1:2], phoc(["stop"]))
