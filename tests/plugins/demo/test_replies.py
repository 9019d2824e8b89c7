"""What models say, in words and as HTML; with doubles where a real model would hide a case."""

from __future__ import annotations

import re
import sys
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vqazoo.errors import ConfigError
from vqazoo.interfaces import Answer
from vqazoo_demo import asking, results
from vqazoo_demo.asking import Look, Models, Reply, place
from vqazoo_demo.examples import EXAMPLES

LSTM, GATED = "tiny-clip-lstm-easyvqa", "tiny-clip-linear-flawedshapes"
SUITED = {"easy-vqa": LSTM, "sort-of-clevr": "tiny-clip-mlp-sortofclevr", "flawed-shapes": GATED}
PICTURE = Image.new("RGB", (40, 30), "white")


@pytest.fixture(scope="module")
def models() -> Models:
    return Models([])


def text(html: str) -> str:
    return unescape(" ".join(re.sub("<[^>]*>", " ", html).split()))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.question)
def test_a_suited_packaged_model_answers_every_example_right(models: Models, example) -> None:
    reply = models.ask(SUITED[example.data], example.paint(), example.question, 1, False)
    assert reply.answer is not None, reply.problem
    assert reply.answer.text == example.answer
    assert reply.refuses == (example.answer in asking.REFUSALS)


def test_the_packaged_models_can_be_chosen_after_those_that_are_named() -> None:
    models = Models(["dir:mine", GATED])
    assert models.names[:3] == ["dir:mine", GATED, LSTM]
    assert len(models.names) == len(set(models.names))
    assert set(Models([]).names) == set(models.names) - {"dir:mine"}
    assert (models.chosen, Models([]).chosen) == (["dir:mine", GATED], [LSTM])


def test_a_model_that_cannot_be_loaded_says_why_and_the_others_still_answer() -> None:
    models = Models(["dir:nowhere"])
    reply = models.ask("dir:nowhere", PICTURE, "what is this?", 1, False)
    assert "nowhere" in reply.problem
    html = results.page(PICTURE, "what is this?", [reply, Reply(LSTM, Answer("red", 0.5))])
    assert f"dir:nowhere {reply.problem}" in text(html)
    assert f"{LSTM} red 50% sure" in text(html)
    assert results.spoken(reply) == f"dir:nowhere has no answer. {reply.problem}"


def test_a_bug_is_one_sentence_on_the_page_and_a_traceback_in_the_terminal(
    models: Models, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(name: str) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(models, "load", broken)
    reply = models.ask(LSTM, PICTURE, "what is this?", 1, False)
    assert reply.problem == f"The model {LSTM} failed (KeyError): the terminal says more."
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("answer", "refuses"),
    [
        (Answer("red", 0.9), False),
        (Answer("red", 0.9, answerable=0.5), False),
        (Answer("red", 0.9, answerable=0.49), True),
        (Answer("unanswerable", 0.9), True),
        (Answer("unsuitable image", 0.9, answerable=0.9), True),
    ],
)
def test_a_model_refuses_by_its_answer_or_by_its_answerability(
    answer: Answer, refuses: bool
) -> None:
    reply = Reply(LSTM, answer)
    assert reply.refuses is refuses
    assert (results.NOT_ENOUGH in results.spoken(reply)) is refuses
    assert (results.NOT_ENOUGH in results.page(PICTURE, "what?", [reply])) is refuses


def test_a_refusal_tells_the_best_guess_that_is_none() -> None:
    answer = Answer("unsuitable image", 0.7, alternatives=(Answer("unanswerable", 0.2),))
    assert "guess" not in results.page(PICTURE, "what?", [Reply(GATED, answer)])
    answer = Answer("unanswerable", 0.7, alternatives=(Answer("red", 0.2), Answer("blue", 0.1)))
    assert "Its best guess would be “red”." in results.page(PICTURE, "?", [Reply(GATED, answer)])


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (0.0, "under 1%"),
        (0.0099, "under 1%"),
        (0.01, "1%"),
        (0.5, "50%"),
        (0.99, "99%"),
        (0.9901, "over 99%"),
        (1.0, "over 99%"),
    ],
)
def test_no_score_is_told_as_certain_or_impossible(score: float, told: str) -> None:
    assert results.share(score) == told


def test_everything_from_outside_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    look = Look(PICTURE, "in the middle", (evil,))
    replies = [Reply(evil, Answer(evil, 1.0), look=look), Reply(evil, problem=evil)]
    html = results.page(PICTURE, evil, replies, waiting_for=evil) + results.problem(evil)
    html += results.page(PICTURE, "?", [Reply(evil, Answer("red", 1.0), no_look=evil)])
    html += results.saved(Path(f"{evil}.csv"), 1)
    assert "<script" not in html


# ---- where a model looked -------------------------------------------------------------------


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_the_hottest_of_nine_parts_is_told_in_words(row: int, column: int) -> None:
    heat = np.full((31, 50), 0.1, np.float32)
    heat[5 + 10 * row, 8 + 16 * column] = 100.0
    down, across = ("top", "", "bottom")[row], ("left", "", "right")[column]
    expected = "in the middle" if row == column == 1 else f"at the {down} {across}"
    assert place(heat) == " ".join(expected.split())


def test_a_picture_of_one_pixel_or_without_heat_has_a_place_too() -> None:
    assert place(np.ones((1, 1), np.float32)).startswith("at the ")
    assert place(np.zeros((9, 9), np.float32)) == "nowhere in particular"


def test_a_real_explanation_comes_with_its_words(models: Models) -> None:
    reply = models.ask(LSTM, EXAMPLES[0].paint(), EXAMPLES[0].question, 1, True)
    assert reply.look is not None, reply.no_look
    assert reply.look.picture.size == EXAMPLES[0].paint().size
    assert 1 <= len(reply.look.words) <= 2
    assert set(reply.look.words) <= {"what", "color", "is", "the", "circle"}


def test_a_model_whose_parts_offer_no_heat_map_says_so_and_still_answers(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vqazoo

    def refuse(*given: object) -> None:
        raise ConfigError("The model has no gradients: ask without.")

    double = SimpleNamespace(explain=refuse)
    monkeypatch.setitem(sys.modules, "vqazoo.explain", double)
    monkeypatch.setattr(vqazoo, "explain", double, raising=False)
    reply = models.ask(LSTM, EXAMPLES[0].paint(), EXAMPLES[0].question, 1, True)
    assert reply.answer is not None
    assert reply.look is None
    html = results.page(PICTURE, "?", [reply])
    assert "teal" in html
    assert "The model has no gradients: ask without." in html
