"""Decisions as JSON: those of the openai client, and those of System One. Imports pydantic.

Sources: openai 3.57, types/decision_create_params.py and types/decision.py; transformers 5.24,
cli/serving/systemone.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, create_model

from vqazoo.decisions import FEWEST_OPTIONS, MOST_OPTIONS, MOST_QUESTIONS

LONGEST_NAME = 256  # characters
MOST_STATE_QUESTIONS, MOST_ASSETS = 64, 4  # of System One, as in transformers


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


# ---- what the openai client sends -----------------------------------------------------------


class Breakpoint(Strict):
    """Where a prompt could be kept; without effect."""

    mode: Literal["explicit"]


class InputText(Strict):
    """Words about the picture."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: Breakpoint | None = None


class InputImage(Strict):
    """A picture."""

    type: Literal["input_image"]
    image_url: str = Field(description="a data: URL in base64, or a public http or https URL")
    detail: Literal["low", "high", "auto", "original"] | None = Field(
        None, description="without effect: a model has one size"
    )
    prompt_cache_breakpoint: Breakpoint | None = None


class InputJSON(Strict):
    """Data about the picture, read as compact JSON."""

    type: Literal["input_json"]
    data: dict[str, Any] | list[dict[str, Any]]


Part = Annotated[InputText | InputImage | InputJSON, Field(discriminator="type")]
Instructions = str | list[Part]
Name = Annotated[str, Field(max_length=LONGEST_NAME)] | None


class UserMessage(Strict):
    """What the questions are about."""

    role: Literal["user"]
    content: Instructions
    type: Literal["message"] = "message"


class PredicateIn(Strict):
    """How likely a statement is true."""

    type: Literal["predicate"]
    instructions: Instructions = Field(description="the statement, or a yes-or-no question")
    name: Name = None


class ChoiceOption(Strict):
    """One of the choices."""

    value: StrictStr | StrictBool = Field(description="true and false are read as yes and no")
    description: str | None = Field(None, description="read if the model does not know the value")


class ChoiceIn(Strict):
    """Which of some answers fits."""

    type: Literal["choice"]
    instructions: Instructions = Field(description="the question")
    choices: list[ChoiceOption] = Field(min_length=FEWEST_OPTIONS, max_length=MOST_OPTIONS)
    name: Name = None


class Level(Strict):
    """One of the levels."""

    label: str
    description: str | None = Field(None, description="read if the model does not know the label")


class ScoreIn(Strict):
    """Which level of a scale fits."""

    type: Literal["score"]
    instructions: Instructions = Field(description="the question")
    levels: list[Level] = Field(
        min_length=FEWEST_OPTIONS, max_length=MOST_OPTIONS, description="lowest first"
    )
    name: Name = None


QuestionIn = Annotated[PredicateIn | ChoiceIn | ScoreIn, Field(discriminator="type")]


class CacheOptions(Strict):
    """How prompts could be kept; without effect."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m"] | None = None


def decisions_body(models: Sequence[str]) -> type[BaseModel]:
    """The body of `POST /v1/decisions`."""
    fields: dict[str, Any] = {
        "model": (str, Field(description=f"one of {', '.join(models)}")),
        "input": (
            str | list[UserMessage],
            Field(
                description="messages of the user, with one picture; text is read before each "
                "question"
            ),
        ),
        "questions": (
            Annotated[list[QuestionIn], Field(min_length=1, max_length=MOST_QUESTIONS)],
            Field(description="about the picture, answered in their order"),
        ),
        "prompt_cache_key": (str | None, Field(None, description="without effect")),
        "prompt_cache_options": (CacheOptions | None, Field(None, description="without effect")),
        "safety_identifier": (str | None, Field(None, description="without effect")),
    }
    return create_model("Decisions", __base__=Strict, __doc__="Typed questions.", **fields)


# ---- what it gets ---------------------------------------------------------------------------


class PredicateOut(BaseModel):
    """How likely the statement is true."""

    type: Literal["predicate"] = "predicate"
    name: str | None
    probability: float


class ChoiceProbability(BaseModel):
    """A choice, as it was sent, and how likely it is."""

    value: StrictStr | StrictBool
    probability: float


class ChoiceOut(BaseModel):
    """What was chosen."""

    type: Literal["choice"] = "choice"
    name: str | None
    choice: StrictStr | StrictBool
    confidence: float = Field(description="0 where all are as likely, 1 where one is certain")
    probabilities: list[ChoiceProbability] = Field(description="in the order of the choices")
    unscored: list[StrictStr | StrictBool] = Field(
        description="choices that the model does not know, of probability 0; beyond the fields of "
        "the openai client"
    )


class ScoreProbability(BaseModel):
    """A level, counted from 0, and how likely it is."""

    label: str
    value: int
    probability: float


class ScoreOut(BaseModel):
    """Where on the scale."""

    type: Literal["score"] = "score"
    name: str | None
    score: float = Field(description="the expected level, counted from 0")
    confidence: float = Field(description="0 where all are as likely, 1 where one is certain")
    probabilities: list[ScoreProbability] = Field(description="in the order of the levels")
    unscored: list[str] = Field(
        description="labels that the model does not know, of probability 0; beyond the fields of "
        "the openai client"
    )


class RefusalOut(BaseModel):
    """A question that the model cannot decide."""

    type: Literal["refusal"] = "refusal"
    name: str | None
    reason: str = Field(description="why, in a sentence; beyond the fields of the openai client")


AnswerOut = PredicateOut | ChoiceOut | ScoreOut | RefusalOut


class InputDetails(BaseModel):
    """Of the tokens read."""

    cached_tokens: int = Field(description="those whose features were there already")
    cache_write_tokens: int = Field(description="always 0")


class OutputDetails(BaseModel):
    """Of the tokens written."""

    reasoning_tokens: int = Field(description="always 0")


class UsageOut(BaseModel):
    """What was read."""

    input_tokens: int = Field(description="of the picture, once, and of each question")
    input_tokens_details: InputDetails
    output_tokens: int = Field(description="always 0: nothing is written")
    output_tokens_details: OutputDetails
    total_tokens: int


class DecisionsOut(BaseModel):
    """Answers in the order of the questions."""

    answers: list[AnswerOut]
    model: str
    usage: UsageOut


class ServedModel(BaseModel):
    """A name that `model` takes."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="when the service started, in seconds since 1970")
    owned_by: str = "vqazoo"


class ServedModels(BaseModel):
    """The names that `model` takes, the default first."""

    object: Literal["list"] = "list"
    data: list[ServedModel]


class Fault(BaseModel):
    """What is wrong."""

    message: str = Field(description="one sentence: what is wrong and what to do")
    type: str
    param: str | None = Field(description="the place in the body")
    code: str | None


class FaultOut(BaseModel):
    """Why a request was not answered, in OpenAI's form."""

    error: Fault
    request_id: str = Field(description="names the request in the log; also header X-Request-ID")


# ---- System One -----------------------------------------------------------------------------


class Asset(Strict):
    """A picture."""

    type: Literal["image"] = "image"
    format: str | None = Field(None, description="without effect: the content says it")
    data_base64: str


def systemone_body(models: Sequence[str]) -> type[BaseModel]:
    """The body of `POST /v1/systemone`."""
    fields: dict[str, Any] = {
        "model": (
            str | None,
            Field(None, description=f"one of {', '.join(models)}; default: {models[0]}"),
        ),
        "state": (
            str | dict[str, Any] | list[Any],
            Field(description="what the questions are about, with placeholders of pictures"),
        ),
        "questions": (
            Annotated[
                dict[str, dict[str, Any]], Field(min_length=1, max_length=MOST_STATE_QUESTIONS)
            ],
            Field(
                description="by name, each with type (choice, score, noul), instructions and "
                "criteria"
            ),
        ),
        "assets": (
            Annotated[dict[str, Asset], Field(max_length=MOST_ASSETS)],
            Field({}, description="pictures by the placeholders they stand for"),
        ),
    }
    return create_model("SystemOne", __base__=Strict, __doc__="Typed questions.", **fields)


class StateUsage(BaseModel):
    """What was read."""

    input_tokens: int
    output_tokens: int


class SystemOneOut(BaseModel):
    """Answers by the names of the questions."""

    model: str
    answers: dict[str, dict[str, Any]]
    usage: StateUsage


class Detail(BaseModel):
    """A fault of the body."""

    loc: list[str | int]
    msg: str
    type: str


class DetailOut(BaseModel):
    """Why a request was not answered, in the form of `transformers serve`."""

    detail: str | list[Detail]
    request_id: str = Field(description="names the request in the log; also header X-Request-ID")
