"""Words by where their characters stand (PHOC): alike where they are spelt alike. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
LEVELS = (2, 3, 4, 5)  # regions that a word is cut into
BIGRAM_LEVEL = 2
# The most frequent pairs of letters in English, in the order of the published code.
BIGRAMS = (
    *("th", "he", "in", "er", "an", "re", "es", "on", "st", "nt", "en", "at", "ed", "nd", "to"),
    *("or", "ea", "ti", "ar", "te", "ng", "al", "it", "as", "is", "ha", "et", "se", "ou", "of"),
    *("le", "sa", "ve", "ro", "ra", "ri", "hi", "ne", "me", "de", "co", "ta", "ec", "si", "ll"),
    *("so", "na", "li", "la", "el"),
)
REGIONS = sum(LEVELS) * len(CHARACTERS)
SIZE = REGIONS + BIGRAM_LEVEL * len(BIGRAMS)  # 604
FIRST_REGION = dict(zip(LEVELS, accumulate((0, *LEVELS)), strict=False))


def phoc(words: Sequence[str]) -> Tensor:
    """Pyramidal histograms of characters (n, 604) of n words, 0 or 1.

    A word is cut into 2, 3, 4 and 5 regions; each says which of the letters a to z and digits have
    half of their width in it or more. Of two halves each says so of the 50 most frequent pairs of
    letters. Letters are read in lower case, and other characters are left out.

    Source: Almazan et al. 2014, Word Spotting and Recognition with Embedded Attributes, section
    3.1; sizes as in M4C (Hu et al. 2020, section 3.1).
    """
    table = torch.zeros(len(words), SIZE)
    for row, word in enumerate(words):
        table[row, list(_places(word))] = 1.0
    return table


@lru_cache(maxsize=100_000)
def _places(word: str) -> tuple[int, ...]:
    """Where a word's histogram is 1."""
    letters = "".join(letter for letter in word.lower() if letter in CHARACTERS)
    found: set[int] = set()
    for place, letter in enumerate(letters):
        for level in LEVELS:
            for region in _regions(place, 1, len(letters), level):
                number = (FIRST_REGION[level] + region) * len(CHARACTERS)
                found.add(number + CHARACTERS.index(letter))
    for place in range(len(letters) - 1):
        pair = letters[place : place + 2]
        if pair in BIGRAMS:
            for region in _regions(place, 2, len(letters), BIGRAM_LEVEL):
                found.add(REGIONS + region * len(BIGRAMS) + BIGRAMS.index(pair))
    return tuple(sorted(found))


def _regions(first: int, width: int, length: int, level: int) -> list[int]:
    """The regions of a level in which `width` letters from `first` on have half of their width.

    Both are measured in parts of 1 / (length * level), so that halves are exact.
    """
    start, end = first * level, (first + width) * level
    return [
        region
        for region in range(level)
        if 2 * (min(end, (region + 1) * length) - max(start, region * length)) >= end - start
    ]
