"""What somebody tried who wanted wrong answers: each was silent, or a traceback."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import easy_vqa
import pytest
from PIL import Image

import vqazoo
from vqazoo import VQAModel
from vqazoo.calibration import Calibration
from vqazoo.choosing.ranking import chosen_option
from vqazoo.cli import run
from vqazoo.data import Example, open_dataset
from vqazoo.data.comparison import Comparison
from vqazoo.decisions import ChoiceQuestion, PredicateQuestion, Refusal, decided, question_of
from vqazoo.errors import ConfigError, DataError
from vqazoo.evaluation.tables import table_rows
from vqazoo.registry import registry

QUESTION = "what color is the shape?"


@pytest.fixture(scope="module")
def model() -> VQAModel:
    """Its calibration has a curve."""
    loaded = vqazoo.load("tiny-clip-linear-easyvqa")
    assert loaded.calibration is not None
    assert loaded.calibration.curve
    return loaded


@pytest.fixture(scope="module")
def picture() -> str:
    return str(Path(easy_vqa.__file__).parent / "data/test/images/0.png")


def test_rank_of_all_answers_has_the_scores_of_answer(model: VQAModel) -> None:
    questions, _, images = easy_vqa.get_test_questions()
    paths = easy_vqa.get_test_image_paths()
    texts = list(model.answers.texts)
    for row in range(0, 600, 10):
        asked = str(paths[images[row]]), questions[row]
        answered = model.answer(*asked, top_k=len(texts))
        ranked = model.rank(*asked, texts, top_k=len(texts))
        assert isinstance(ranked, vqazoo.Answer)
        for one, other in zip(
            (answered, *answered.alternatives), (ranked, *ranked.alternatives), strict=True
        ):
            assert one.score == pytest.approx(other.score, abs=1e-4)


@pytest.mark.parametrize("choices", [["", "red", "blue"], [None, "red", "blue"], "['', 'red']"])
def test_a_blank_choice_does_not_move_the_numbers_of_the_others(
    choices: object, picture: str
) -> None:
    row = {"image": picture, "question": QUESTION, "choices": choices, "answer": 1}
    with pytest.raises(DataError, match="has a blank choice"):
        list(table_rows([row]))


def test_choices_that_are_one_share_no_probability() -> None:
    chosen = chosen_option(["red", "Red", " red", "blue"], [5.0, 5.0, 5.0, 0.0])
    assert chosen.score == pytest.approx(1 / (1 + math.exp(-5)))


def test_scores_that_are_no_numbers_decide_nothing() -> None:
    question = ChoiceQuestion("what?", ["a", "b"])
    for scores in ([math.nan, 0.0], [0.0, math.nan], [math.inf, 0.0]):
        assert isinstance(decided(question, scores), Refusal)
    assert chosen_option(["a", "b", "c"], [math.nan, 0.0, 1.0]).unscored == ("a",)


def test_one_picture_in_memory_is_one_picture(model: VQAModel) -> None:
    shown = Image.new("RGB", (64, 64), "red")
    rows = [{"image": shown, "question": QUESTION, "answer": "red"} for _ in range(120)]
    with pytest.raises(DataError, match=r"about 1 pictures?, but"):
        vqazoo.calibrate(vqazoo.load("tiny-clip-gru-easyvqa"), rows)


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e-60, 1e-38, 1e300, True, math.nan])
def test_a_temperature_that_no_fit_gives_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="temperature of 'answers'"):
        Calibration.from_json({"temperatures": {"answers": value}})
    with pytest.raises(ValueError, match=r"threshold|not in"):
        Calibration.from_json({"thresholds": {"0.05": 10**400}})


def test_candidates_are_texts_and_each_counts_once(model: VQAModel, picture: str) -> None:
    with pytest.raises(ConfigError, match="Of the candidates one is '3'"):
        model.rank(picture, QUESTION, ["red", 3])  # type: ignore[list-item]
    best = model.rank(picture, QUESTION, ["green", "green", "red"], top_k=3)
    assert isinstance(best, vqazoo.Answer)
    assert sorted([best.text, *(other.text for other in best.alternatives)]) == ["green", "red"]


@pytest.mark.parametrize("top_k", [True, 1.5, "2", None, 0])
def test_top_k_is_a_whole_number(model: VQAModel, picture: str, top_k: object) -> None:
    with pytest.raises(ConfigError, match="top_k is"):
        model.answer(picture, QUESTION, top_k=top_k)  # type: ignore[call-overload]


@pytest.mark.parametrize("batch_size", [True, 1.5, "2", 0])
def test_batch_size_is_a_whole_number(model: VQAModel, picture: str, batch_size: object) -> None:
    rows = [{"image": picture, "question": QUESTION}]
    with pytest.raises(ConfigError, match="batch_size is"):
        model.predict(rows, batch_size=batch_size)  # type: ignore[arg-type]


def test_blank_parts_of_a_cell_are_left_out_since_no_number_counts_them(
    tmp_path: Path, picture: str
) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"image,question,answer,choices\n{picture},what?,blue,red||blue|\n")
    args = registry.fill("dataset", "table", {"test": str(table)})
    (example,) = open_dataset("table", args).read("test")
    assert example.choices == ("red", "blue")


def test_rows_that_compare_in_other_ways_are_each_compared_in_theirs(
    model: VQAModel, picture: str
) -> None:
    choices = ("red thing", "blue thing")
    plain = Example(Path(picture), QUESTION, ("red thing",), "1", choices=choices)
    loose = replace(plain, comparison=Comparison("first word", lambda text: text.split()[0]))
    alone = [model.answer_examples([picture], [example])[0].text for example in (plain, loose)]
    assert alone == ["", "red thing"]
    for rows in ([plain, loose], [loose, plain]):
        told = model.answer_examples([picture] * 2, rows)
        assert [answer.text for answer in told] == (alone if rows[0] is plain else alone[::-1])


def test_questions_may_come_from_a_generator(model: VQAModel, picture: str) -> None:
    questions = [PredicateQuestion("the shape is red"), PredicateQuestion("the shape is blue")]
    assert model.decide(picture, (each for each in questions)) == model.decide(picture, questions)


def test_a_can_is_a_thing_before_it_is_a_verb() -> None:
    assert question_of("A can is red.") == "is a can red?"
    assert question_of("He can swim.") == "can he swim?"


def test_runs_with_odd_scores_are_told_and_the_others_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Path(vqazoo.catalogue.catalogue() / "tiny-clip-gru-easyvqa/recipe.toml").read_text()
    for name, scores in (("odd", '[{"name": [], "split": "validation", "value": 0.5}]'), ("x", "")):
        (tmp_path / name / "best").mkdir(parents=True)
        (tmp_path / name / "recipe.toml").write_text(recipe)
        if scores:
            (tmp_path / name / "best/metrics.json").write_text(scores)
    assert run(["runs", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "holds no scores" in told.err
    assert "not finished" in told.out
