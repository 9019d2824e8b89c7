"""VQA accuracy: agreement with ten people (Antol et al. 2015, section 4.3; Goyal et al. 2017).

The normalisation follows what the reference evaluation code does, its quirks included, since
published scores were computed with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from vqazoo.data.answers import leave_one_out

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
# The reference's look-behind is malformed and its flag is passed as a count: periods that no digit
# follows go, at most 32 of them.
PERIOD = re.compile(r"\.(?!\d)")
MOST_PERIODS = 32
DIGIT_COMMA = re.compile(r"\d,\d")
NUMBERS = {
    "none": "0",
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}
ARTICLES = ("a", "an", "the")
# ruff: noqa: SIM905 - a list of words reads better as text
# Words that get their apostrophe back: each is its spelling without one apostrophe, or with one
# missing. Entries of the reference that can never match (capital letters) are left out.
_RESTORED = """
    ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd
    how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock
    oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's
    something'd something'll that's there'd there're there's they'd they'll they're they've wasn't
    we've weren't what'll what're what's what've when's where'd where's where've who'd who'll who's
    who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
""".split()
_RESTORED_TWICE = """
    couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've
    someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll you'd've
""".split()
CONTRACTIONS = {
    **{word.replace("'", ""): word for word in _RESTORED},
    **{word.replace("'", "", 1): word for word in _RESTORED_TWICE},
    **{word[::-1].replace("'", "", 1)[::-1]: word for word in _RESTORED_TWICE},
    "ow's'at": "'ow's'at",
    "'ows'at": "'ow's'at",
    "'ow'sat": "'ow's'at",
    "twas": "'twas",
    "somebody'd": "somebodyd",
    "yall'd've": "y'all'd've",
    "y'alld've": "y'all'd've",
    "y'all'dve": "y'all'd've",
}


@lru_cache(maxsize=1_000_000)
def official_form(answer: str) -> str:
    """Punctuation, lower case, number words, articles, contractions, in the reference's order."""
    text = answer.replace("\n", " ").replace("\t", " ").strip()
    return _words(_punctuation(text))


def _punctuation(text: str) -> str:
    """The text with each mark deleted or made a blank.

    A mark is deleted where it touches a blank anywhere, or the text has digit,digit.
    """
    out = text
    number = DIGIT_COMMA.search(text) is not None
    for mark in PUNCTUATION:
        if mark in out:
            touching = f"{mark} " in text or f" {mark}" in text
            out = out.replace(mark, "" if touching or number else " ")
    return PERIOD.sub("", out, count=MOST_PERIODS)


def _words(text: str) -> str:
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def cleaned(answer: str) -> str:
    """What the reference does to every answer first: line breaks and blanks."""
    return answer.replace("\n", " ").replace("\t", " ").strip()


def accuracy(answer: str, people: Sequence[str]) -> float:
    """As the VQA reference code: nothing is normalised where all people gave the same answer."""
    given = [cleaned(text) for text in people]
    if len(set(given)) == 1:
        return leave_one_out(len(given) if cleaned(answer) == given[0] else 0, len(given))
    return accuracy_always(answer, people)


def accuracy_always(answer: str, people: Sequence[str]) -> float:
    """Answer and people's answers are normalised, whatever they are."""
    wanted = official_form(answer)
    return leave_one_out(sum(official_form(text) == wanted for text in people), len(people))


def accuracy_vizwiz(answer: str, people: Sequence[str]) -> float:
    """As public copies of the VizWiz code: the answer is normalised, people's answers are not."""
    wanted = official_form(answer)
    return leave_one_out(sum(cleaned(text) == wanted for text in people), len(people))
