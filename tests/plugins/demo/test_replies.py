"""What models say, in words and as HTML; with doubles where a real model would hide a case."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import vqazoo
from vqazoo.calibration.abstaining import REFUSALS
from vqazoo.catalogue import catalogue
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Answer
from vqazoo.media.pixels import placement
from vqazoo.quality import Quality
from vqazoo.wording import advice_on
from vqazoo_demo import asking, results
from vqazoo_demo.asking import Look, Models, Reply, place
from vqazoo_demo.examples import EXAMPLES
from vqazoo_demo.naming import short_names

JUDGE = "tiny-clip-quality-flawedshapes"
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
    assert bool(reply.refusal) == (example.answer in REFUSALS)


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
    assert f"nowhere {reply.problem}" in text(html)
    assert f"{LSTM} Not sure Its best guess is “red” (50%)." in text(html)
    assert results.spoken(reply) == f"nowhere has no answer. {reply.problem}"


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
    ("answer", "large"),
    [
        (Answer("red", 0.95), "red"),
        (Answer("red", 0.6), "red"),
        (Answer("red", 0.59), "Not sure"),
        (Answer("red", 0.04), "Not sure"),
        (Answer("red", float("nan")), "Not sure"),
        (Answer("red", 0.9, answerable=0.5), "red"),
        (Answer("red", 0.9, answerable=0.49), "I don't know"),
        (Answer("unanswerable", 0.9), "I don't know"),
        (Answer("unsuitable image", 0.9, answerable=0.9), "I don't know"),
    ],
)
def test_in_large_letters_stands_an_answer_to_rely_on_or_that_there_is_none(
    answer: Answer, large: str
) -> None:
    html = results.page(PICTURE, "what?", [Reply(LSTM, answer)])
    assert re.findall(r'<p class="best[^>]*>([^<]*)</p>', unescape(html)) == [large]


def test_a_picture_to_be_taken_again_is_told_so_and_its_answer_is_a_guess() -> None:
    blurred = Quality({"blurred": 0.99}, "blurred", 0.98, advice_on("blurred", True))
    reply = Reply(LSTM, Answer("red", 0.99), quality=blurred)
    html = text(results.page(PICTURE, "what?", [reply]))
    assert "Not sure Its best guess is “red” (99%). The picture is blurred." in html
    assert results.spoken(reply) == (
        f"{LSTM} says: The picture is blurred. Hold the camera still, and take it again. "
        f"The best guess is red."
    )


def test_a_dark_picture_is_judged_for_models_of_its_kind_and_for_no_others(models: Models) -> None:
    dark, question = EXAMPLES[-1].paint(), EXAMPLES[-1].question
    judged = models.ask(GATED, dark, question, 1, False).quality
    assert judged is not None
    assert (judged.worst, judged.retake) == ("too dark", True)
    assert models.ask(LSTM, dark, question, 1, False).quality is None
    assert Models([], quality="none").ask(GATED, dark, question, 1, False).quality is None
    named = Models([], quality=JUDGE)
    assert named.ask(LSTM, dark, question, 1, False).quality is not None


def test_an_answer_that_is_held_back_is_told_so_with_its_guess_and_its_own_bars() -> None:
    models = Models([GATED], abstain_at_risk=0.01)
    own = models.load(GATED)
    example = next(one for one in EXAMPLES if one.data == "easy-vqa")
    picture, question = example.paint(), example.question
    held = own.answer(picture, question, 3, abstain_at_risk=0.01)
    reply = models.ask(GATED, picture, question, 3, False)
    assert reply.answer is not None
    assert (reply.answer.text, reply.answer.abstained) == (held.text, held.abstained)
    guesses = (Answer("red", 0.4), Answer("blue", 0.3))
    unsure = Answer("I don't know", 0.4, alternatives=guesses, abstained="unsure")
    told = Reply(GATED, unsure)
    html = text(results.page(picture, question, [told]))
    assert "I don't know The model is not sure enough. Its best guess would be “red”." in html
    assert "Ranked answers red 40% blue 30%" in html


def test_a_risk_that_a_model_has_no_threshold_for_is_told_on_the_page() -> None:
    name = "tiny-clip-med-easyvqa"
    models = Models([], abstain_at_risk=1e-6)
    reply = models.ask(name, PICTURE, "what is this?", 1, False)
    assert reply.answer is None
    assert "the smallest that one keeps is 0.01" in reply.problem


def test_a_model_that_judges_pictures_does_not_answer_and_the_other_way_round() -> None:
    assert JUDGE not in Models([]).names
    with pytest.raises(ConfigError, match=f"'{JUDGE}' answers no questions, .* with --quality"):
        Models([JUDGE])
    with pytest.raises(ConfigError, match=f"'{LSTM}' answers questions, .*: {JUDGE}, or none"):
        Models([], quality=LSTM)


def test_what_was_asked_before_about_the_picture_stays_on_the_page() -> None:
    turns = [results.Turn("is it <red>?", "The answer is yes; the model is sure.")]
    html = results.page(PICTURE, "why?", [Reply(LSTM, Answer("no", 0.99))], earlier=turns)
    assert "Asked before about this picture “is it <red>?” The answer is yes; the model" in text(
        html
    )
    assert "<red>" not in html


@pytest.mark.parametrize(
    ("references", "shown"),
    [
        (["dir:/home/me/runs/mine/best", "hub:owner/name@abc"], ["mine", "name"]),
        (["dir:runs/mine", "dir:a/best"], ["mine", "a"]),
        (["dir:a/mine", "dir:b/mine/best"], ["dir:a/mine", "dir:b/mine/best"]),
        (["dir:best", "dir:/", LSTM], ["best", "dir:/", LSTM]),
    ],
)
def test_models_have_short_names_unless_two_would_share_one(
    references: list[str], shown: list[str]
) -> None:
    assert list(short_names(references).values()) == shown


def test_a_run_folder_needs_no_prefix_to_have_a_short_name_and_no_drawn_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(catalogue() / LSTM, "runs/mine/best")
    recipe = Path("runs/mine/best/recipe.toml")
    recipe.write_text(recipe.read_text().replace('type = "easy-vqa"', 'type = "table"'))
    models = Models(["runs/mine"])
    (chosen,) = models.chosen
    assert (models.labels[chosen], models.data[chosen]) == ("mine", "table")


@pytest.mark.parametrize(
    ("size", "mode", "edges"),
    [
        ((200, 100), "crop", "left and right"),
        ((100, 200), "crop", "top and bottom"),
        ((100, 100), "crop", ""),
        ((200, 100), "squash", ""),
        ((200, 100), "pad", ""),
    ],
)
def test_what_a_model_never_sees_of_a_picture_is_told_and_faded(
    size: tuple[int, int], mode: str, edges: str
) -> None:
    placed = placement(size, replace(vqazoo.load(LSTM).image_encoder.spec.preprocess, mode=mode))
    assert asking.unseen(placed) == edges
    shown = asking._framed(Image.new("RGB", size, (0, 0, 200)), placed)
    middle, corner = shown.getpixel((size[0] // 2, size[1] // 2)), shown.getpixel((1, 1))
    assert middle == (0, 0, 200)
    assert (corner == middle) == (not edges)


def test_a_refusal_tells_the_best_guess_that_is_none() -> None:
    answer = Answer("unsuitable image", 0.7, alternatives=(Answer("unanswerable", 0.2),))
    assert "guess" not in results.page(PICTURE, "what?", [Reply(GATED, answer)])
    assert "The picture shows too little to answer." in text(
        results.page(PICTURE, "what?", [Reply(GATED, answer)])
    )
    answer = Answer("unanswerable", 0.7, alternatives=(Answer("red", 0.2), Answer("blue", 0.1)))
    assert "Its best guess would be “red”." in results.page(PICTURE, "?", [Reply(GATED, answer)])
    answer = Answer("unanswerable", 0.9, alternatives=(Answer("red", 0.09),))
    assert "guess" not in results.page(PICTURE, "?", [Reply(GATED, answer)])


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

    def refuse(*given: object, **named: object) -> None:
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
