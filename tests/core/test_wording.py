"""What people are told, sentence by sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vqazoo.interfaces import Answer
from vqazoo.quality import FLAWS, NO_FLAW, Quality
from vqazoo.wording import FAIRLY_SURE, NOT_SURE, SURE, advice_on, refusal, spoken, sureness


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (1.0, SURE),
        (0.9, SURE),
        (0.8999, FAIRLY_SURE),
        (0.6, FAIRLY_SURE),
        (0.5999, NOT_SURE),
        (0.04, NOT_SURE),
        (0.0, NOT_SURE),
        (float("nan"), NOT_SURE),
    ],
)
def test_the_scale_of_words_is_fixed(score: float, words: str) -> None:
    assert sureness(score) == words


def held_back(text: str, score: float, reason: str, **more: float) -> Answer:
    guess = Answer(text, score, **more)
    return Answer("I don't know", score, alternatives=(guess,), abstained=reason, **more)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer("red", 0.97), "The answer is red; the model is sure."),
        (Answer("red", 0.7), "The answer is probably red; the model is fairly sure."),
        (Answer("red", 0.04), "The model is not sure; its best guess is red."),
        (Answer("red", 0.97, answerable=0.8), "The answer is red; the model is sure."),
        (
            Answer("red", 0.97, answerable=0.2),
            "I don't know: the picture shows too little to answer.",
        ),
        (
            Answer("Unanswerable", 0.8),
            "I don't know: the picture does not show what you ask about.",
        ),
        (
            Answer("unsuitable image", 0.8, answerable=0.9),
            "I don't know: the picture shows too little to answer.",
        ),
        (
            held_back("red", 0.3, "unsure"),
            "I don't know: the model is not sure enough.",
        ),
        (
            held_back("a zebra", 0.9, "outside the answer list"),
            "I don't know: what comes to the model is none of the answers that it learnt.",
        ),
        (
            held_back("red", 0.9, "unanswerable", answerable=0.1),
            "I don't know: the picture shows too little to answer.",
        ),
        (
            held_back("unanswerable", 0.9, "unanswerable", answerable=0.1),
            "I don't know: the picture does not show what you ask about.",
        ),
    ],
    ids=str,
)
def test_an_answer_is_one_sentence_that_says_how_sure_it_is_or_why_there_is_none(
    answer: Answer, said: str
) -> None:
    assert spoken(answer) == said
    assert (refusal(answer) == "") == (not said.startswith("I don't know"))
    assert not any(character.isdigit() or character == "%" for character in said)


@pytest.mark.parametrize(
    ("flaw", "again", "perhaps"),
    [
        (
            "blurred",
            "The picture is blurred. Hold the camera still, and take it again.",
            "The picture seems to be blurred; if the answer sounds wrong, take it again.",
        ),
        (
            "too dark",
            "The picture is too dark. Turn on a light, and take it again.",
            "The picture seems to be too dark; if the answer sounds wrong, take it again.",
        ),
        (
            "too bright",
            "The picture is too bright. Turn away from the light, and take it again.",
            "The picture seems to be too bright; if the answer sounds wrong, take it again.",
        ),
        (
            "obscured",
            "The picture is partly covered, perhaps by a finger. Move what covers the camera away, "
            "and take it again.",
            "The picture seems to be partly covered, perhaps by a finger; if the answer sounds "
            "wrong, take it again.",
        ),
        (
            "badly framed",
            "The picture is cut off at the edge. Move back, or turn the camera to what you ask "
            "about, and take it again.",
            "The picture seems to be cut off at the edge; if the answer sounds wrong, take it "
            "again.",
        ),
        (
            "rotated",
            "The picture is turned on its side. Hold the camera upright, and take it again.",
            "The picture seems to be turned on its side; if the answer sounds wrong, take it "
            "again.",
        ),
        (
            "other flaw",
            "The picture is flawed. Look what may be wrong with it, and take it again.",
            "The picture seems to be flawed; if the answer sounds wrong, take it again.",
        ),
        (None, "The picture shows too little: take it again.", ""),
    ],
)
def test_each_flaw_says_what_to_do(flaw: str | None, again: str, perhaps: str) -> None:
    assert advice_on(flaw, True) == again
    assert advice_on(flaw, False) == perhaps
    assert set(FLAWS.values()) - {NO_FLAW} >= ({flaw} - {None})


def test_a_picture_to_be_taken_again_comes_first_and_makes_any_answer_a_guess() -> None:
    dark = Quality({"too dark": 0.9}, "too dark", 0.9, advice_on("too dark", True))
    assert spoken(Answer("red", 0.99), dark) == f"{dark.advice} The best guess is red."
    assert spoken(Answer("unanswerable", 0.99), dark) == dark.advice
    weak = Quality({"blurred": 0.9}, "blurred", 0.1, advice_on("blurred", False))
    assert spoken(Answer("red", 0.99), weak) == (
        f"The answer is red; the model is sure. {weak.advice}"
    )
    good = Quality({"blurred": 0.1}, None, 0.1, "")
    assert spoken(Answer("red", 0.99), good) == "The answer is red; the model is sure."


def test_words_and_flaws_are_there_without_torch() -> None:
    code = (
        "import sys, vqazoo.quality, vqazoo.wording; "
        "vqazoo.wording.advice_on('blurred', True); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
