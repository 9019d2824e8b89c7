"""`vqazoo.pipeline("decision")`, called as transformers' DecisionPipeline, and its answers."""

from __future__ import annotations

import base64
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vqazoo
from vqazoo.decision_pipeline import DecisionPipeline
from vqazoo.errors import ConfigError, ImageError, UnknownNameError
from vqazoo.model import VQAModel
from vqazoo_tiny_clip.render import draw_scene

CLASSIFIER = "tiny-clip-lstm-easyvqa"
COLOUR = "what color is the shape?"
HUE = {"type": "choice", "instructions": COLOUR, "criteria": {"red": None, "blue": "a hue"}}
FORM = {"type": "score", "instructions": "what shape is it?", "criteria": ["circle", "triangle"]}
RED = {"type": "noul", "instructions": "is there a red shape?"}
QUESTIONS = {"hue": HUE, "form": FORM, "red": RED}


@pytest.fixture(scope="module")
def model() -> VQAModel:
    return vqazoo.load(CLASSIFIER)


@pytest.fixture(scope="module")
def decide(model: VQAModel) -> DecisionPipeline:
    return vqazoo.pipeline("decision", model=model)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return draw_scene(random.Random(3)).paint()


def as_base64(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_answers_are_in_the_format_that_transformers_makes(decide, model, picture):
    decision = pytest.importorskip("transformers.decision")
    answers = decide({"state": "<img>", "questions": QUESTIONS, "assets": {"<img>": picture}})
    hue = model.choice(picture, COLOUR, ["red", "blue"])
    form = model.score(picture, FORM["instructions"], ["circle", "triangle"])
    red = model.predicate(picture, RED["instructions"]).probability
    shares = {
        "hue": list(hue.probabilities.values()),
        "form": list(form.probabilities.values()),
        "red": [red, 1 - red],
    }
    parsed = decision.parse_questions(QUESTIONS, decision.DecisionConfig())
    for question in parsed:
        own = question.answer(shares[question.name])
        assert set(answers[question.name]) == set(own)
        for key, value in own.items():
            near = (
                value
                if isinstance(value, str) or key == "legend"
                else pytest.approx(value, abs=1e-5)
            )
            assert answers[question.name][key] == near


def test_a_picture_comes_as_an_asset_of_every_form_or_in_the_state(decide, picture, tmp_path):
    path = tmp_path / "photo.png"
    picture.save(path)
    text = as_base64(picture)
    for asset in (
        picture,
        path,
        str(path),
        text,
        f"data:image/png;base64,{text}",
        {"data_base64": text},
    ):
        request = {"state": {"photo": "img-1"}, "questions": QUESTIONS, "assets": {"img-1": asset}}
        made = decide(request)
        assert made["hue"]["probabilities"] == pytest.approx(
            decide(picture, questions=QUESTIONS)["hue"]["probabilities"], abs=1e-6
        )
    for state in (picture, path, {"photo": picture}, [path]):
        made = decide({"state": state, "questions": QUESTIONS})
        assert made == decide(picture, questions=QUESTIONS)


def test_a_request_is_a_dict_or_its_json_or_a_list_of_them(decide, picture):
    request = {
        "state": "img-1",
        "questions": QUESTIONS,
        "assets": {"img-1": {"type": "image", "format": "png", "data_base64": as_base64(picture)}},
    }
    alone = decide(request)
    assert decide(json.dumps(request)) == alone
    assert decide([request, json.dumps(request)]) == [alone, alone]
    assert decide([picture, picture], questions=QUESTIONS) == [alone, alone]
    assert decide("img-1", questions=QUESTIONS, assets=request["assets"]) == alone


def test_a_picture_is_encoded_once_for_all_questions(decide, model, picture, monkeypatch):
    count = 0
    encode = model.encode_image

    def counted(pixels: Any) -> Any:
        nonlocal count
        count += 1
        return encode(pixels)

    monkeypatch.setattr(model, "encode_image", counted)
    decide(picture, questions={str(number): HUE for number in range(20)})
    assert count == 1


def test_placeholders_leave_words_that_can_be_read(decide, model, picture):
    asked = {**HUE, "instructions": "what color is the shape in img-1?"}
    made = decide({"state": "", "questions": {"q": asked}, "assets": {"img-1": picture}})
    own = model.choice(picture, "what color is the shape in the picture?", ["red", "blue"])
    assert made["q"]["probabilities"] == pytest.approx(own.probabilities, abs=1e-6)


def test_descriptions_of_truth_are_chosen_among_where_yes_and_no_are_not_known(picture):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["sharp", "blurred"])
    asked = {
        "type": "noul",
        "instructions": "how is it?",
        "criteria": {"true": "sharp", "false": "blurred"},
    }
    made = vqazoo.pipeline("decision", model=model)(picture, questions={"q": asked})
    own = model.choice(picture, "how is it?", ["sharp", "blurred"])
    assert made["q"]["noul"] == pytest.approx(own.probabilities["sharp"], abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"questions": {"odd": {**HUE, "criteria": {"zebra": None, "gnu": None}}}},
            "Question 'odd': .*knows none",
        ),
        (
            {"questions": {"odd": {**HUE, "instructions": None}}},
            "Question 'odd': The question is ''",
        ),
        (
            {"questions": {"odd": {**HUE, "typ": "x"}}},
            "Question 'odd': it has the field 'typ'.*Did you mean",
        ),
        (
            {"questions": {"odd": {**HUE, "instructions": "like img-2?"}}},
            "Question 'odd': it is about 2 pictures",
        ),
        ({"questions": {}}, "one question or more"),
        ({"assets": {}}, "it is about no picture"),
    ],
)
def test_an_error_names_the_question(decide, picture, changes, words):
    request = {
        "state": "img-1",
        "questions": QUESTIONS,
        "assets": {"img-1": picture, "img-2": Path("b.png")},
    }
    with pytest.raises(ConfigError, match=words):
        decide({**request, **changes})


@pytest.mark.parametrize(
    ("asset", "words"),
    [
        ("https://example.org/a.png", "nothing is fetched"),
        ({"data": "a"}, "in 'data_base64'"),
        ({"data_base64": "!"}, "is not base64"),
        ({"data_base64": "aGVsbG8="}, "no picture"),
        ("nowhere.png", "nowhere.png"),
    ],
)
def test_an_asset_that_is_no_picture_is_refused(decide, asset, words):
    with pytest.raises(ImageError, match=words):
        decide({"state": "img-1", "questions": QUESTIONS, "assets": {"img-1": asset}})


def test_what_is_no_request_is_refused(decide):
    for request, words in (
        ("{", "is not JSON"),
        (5, "was expected"),
        ({"state": ""}, "was expected"),
    ):
        with pytest.raises(ConfigError, match=words):
            decide(request)


def test_the_task_has_a_name_and_no_options(model):
    assert vqazoo.pipeline("decision", model=CLASSIFIER).task == "decision"
    with pytest.raises(ConfigError, match="'decision_config' is not known for the task"):
        vqazoo.pipeline("decision", model=model, decision_config="x")
    with pytest.raises(UnknownNameError, match="Did you mean 'decision'"):
        vqazoo.pipeline("decisions", model=model)
