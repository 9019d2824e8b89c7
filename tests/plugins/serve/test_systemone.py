"""`POST /v1/systemone`, as transformers' own parser reads requests and writes answers."""

from __future__ import annotations

import base64
import copy
from typing import Any

import httpx
import pytest

from tests.plugins.serve.conftest import CLASSIFIER, WRITER
from tests.plugins.serve.decisions import opened
from vqazoo.decisions import ChoiceQuestion, PredicateQuestion, ScoreQuestion

decision = pytest.importorskip("transformers.decision")

COLOUR = "what color is the shape?"
QUESTIONS: dict[str, Any] = {
    "hue": {"type": "choice", "instructions": COLOUR, "criteria": {"red": None, "blue": "a hue"}},
    "red": {"type": "noul", "instructions": "Is there a red shape in img-1?"},
    "told": {
        "type": "noul",
        "instructions": "is there a red shape?",
        "criteria": {"true": "there is", "false": "there is none"},
    },
    "form": {
        "type": "score",
        "instructions": "what shape is in the image?",
        "criteria": ["circle", "rectangle", "triangle"],
    },
    "sure": {"type": "choice", "instructions": "what?", "criteria": {"this": None}},
}


def request(picture: bytes, **changes: Any) -> dict[str, Any]:
    asset = {"type": "image", "format": "png", "data_base64": base64.b64encode(picture).decode()}
    right = {
        "model": WRITER,
        "state": {"photo": "<img-1>"},
        "questions": QUESTIONS,
        "assets": {"<img-1>": asset},
    }
    return {**copy.deepcopy(right), **changes}


def told(client: httpx.Client, status: int, body: Any) -> Any:
    reply = client.post("/v1/systemone", json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


@pytest.mark.parametrize("name", [WRITER, CLASSIFIER])
def test_answers_are_those_of_transformers_own_questions(client, models, pictures, name):
    """Each answer is what `Question.answer` makes of the model's probabilities."""
    made = told(
        client,
        200,
        request(
            pictures[0],
            model=name,
            assets={"img-1": request(pictures[0])["assets"]["<img-1>"]},
            state={"photo": "img-1"},
        ),
    )
    assert set(made) == {"model", "answers", "usage"}
    assert made["model"] == name
    assert made["usage"]["input_tokens"] > 0
    assert made["usage"]["output_tokens"] == 0
    asked = [
        ChoiceQuestion(COLOUR, ["red", "blue"]),
        PredicateQuestion("Is there a red shape in the picture?"),
        PredicateQuestion("is there a red shape?"),
        ScoreQuestion("what shape is in the image?", ["circle", "rectangle", "triangle"]),
    ]
    decided = models[name].decide(opened(pictures[0]), asked)
    parsed = decision.parse_questions(QUESTIONS, decision.DecisionConfig())
    assert list(made["answers"]) == [question.name for question in parsed]
    for question in parsed:
        answer = made["answers"][question.name]
        if question.type == "noul":
            shares = [answer["noul"], 1 - answer["noul"]]
        else:
            shares = list(answer["probabilities"].values())
        assert answer == question.answer(shares)
    hue, red, truth, form = decided
    answers = made["answers"]
    assert answers["hue"]["probabilities"] == pytest.approx(hue.probabilities, abs=1e-5)
    assert answers["red"]["noul"] == pytest.approx(red.probability, abs=1e-5)
    assert answers["told"]["noul"] == pytest.approx(truth.probability, abs=1e-5)
    assert answers["form"]["score"] == pytest.approx(form.score, abs=1e-5)
    assert answers["sure"] == {
        "type": "choice",
        "choice": "this",
        "confidence": 1.0,
        "probabilities": {"this": 1.0},
    }


WRONG = [
    {"x": {"type": "rank", "instructions": "?"}},
    {"x": {"type": "choice", "instructions": "?"}},
    {"x": {"type": "choice", "instructions": "?", "criteria": {}}},
    {"x": {"type": "choice", "instructions": "?", "criteria": ["a", "b"]}},
    {"x": {"type": "choice", "instructions": "?", "criteria": {"a": 1, "b": None}}},
    {"x": {"type": "score", "instructions": "?", "criteria": {"a": None}}},
    {"x": {"type": "score", "instructions": "?", "criteria": [None, "b"]}},
    {"x": {"type": "noul", "instructions": 5}},
    {"x": {"type": "noul", "instructions": "?", "criteria": {"maybe": "x"}}},
    {"x": {"type": "noul", "instructions": "?", "labels": ["a", "b"]}},
]


@pytest.mark.parametrize("questions", WRONG, ids=[str(one["x"]) for one in WRONG])
def test_questions_that_transformers_refuses_are_refused_by_name(client, pictures, questions):
    with pytest.raises(ValueError, match="Question 'x'"):
        decision.parse_questions(questions, decision.DecisionConfig())
    (detail,) = told(client, 422, request(pictures[0], questions=questions))["detail"]
    assert detail["loc"] == ["body", "questions"]
    assert detail["msg"].startswith("Question 'x': ")


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"model": "none"}, 404, "is not served"),
        ({"questions": {}}, 422, "at least 1 item"),
        ({"questions": {str(n): QUESTIONS["hue"] for n in range(65)}}, 422, "at most 64 items"),
        ({"state": None}, 422, "'state' cannot be used"),
        ({"temperature": 1}, 422, "'temperature' is not known"),
        ({"assets": {}}, 422, "about no picture"),
        ({"assets": {"<img-1>": {"data_base64": "!"}}}, 422, "is not base64"),
        ({"assets": {"<img-1>": {"data_base64": "aGVsbG8="}}}, 422, "not a picture"),
        ({"assets": {"<img-1>": {"data_base64": "http://127.0.0.1/a.png"}}}, 422, "is not base64"),
        ({"state": "a " * 300}, 422, "characters, but at most"),
    ],
)
def test_what_cannot_be_used_has_a_detail(client, pictures, changes, status, words):
    said = told(client, status, request(pictures[0], **changes))
    detail = said["detail"]
    assert words in (detail if isinstance(detail, str) else detail[0]["msg"])
    assert set(said) == {"detail", "request_id"}


def test_a_question_that_the_model_cannot_decide_is_named(client, pictures):
    questions = {"odd": {**QUESTIONS["hue"], "criteria": {"zebra": None, "gnu": None}}}
    said = told(client, 400, request(pictures[0], model=CLASSIFIER, questions=questions))
    assert said["detail"].startswith("Question 'odd': The model knows none")


def test_each_question_may_have_its_own_picture(client, models, pictures):
    assets = {f"img-{n}": {"data_base64": base64.b64encode(pictures[n]).decode()} for n in range(2)}
    questions = {
        f"q{n}": {**QUESTIONS["hue"], "instructions": f"img-{n} {COLOUR}"} for n in range(2)
    }
    made = told(client, 200, request(pictures[0], state="", questions=questions, assets=assets))
    for n in range(2):
        own = models[WRITER].choice(opened(pictures[n]), COLOUR, ["red", "blue"])
        assert made["answers"][f"q{n}"]["probabilities"] == pytest.approx(
            own.probabilities, abs=1e-5
        )


def test_what_the_state_says_beside_the_picture_is_read(client, models, pictures):
    state = {"photo": "<img-1>", "note": "a drawing"}
    questions = {"hue": QUESTIONS["hue"]}
    made = told(client, 200, request(pictures[0], state=state, questions=questions))
    text = f'{{"note":"a drawing"}} {COLOUR}'
    own = models[WRITER].choice(opened(pictures[0]), text, ["red", "blue"])
    assert made["answers"]["hue"]["probabilities"] == pytest.approx(own.probabilities, abs=1e-5)
