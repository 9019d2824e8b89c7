"""What goes in and out as JSON; the OpenAPI page is made from it. Imports pydantic."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model

from vqazoo_serve.settings import Settings

T = TypeVar("T")

MOST_ANSWERS = 100  # top_k
MOST_CANDIDATES = 200


class AnswerOut(BaseModel):
    """One answer and how sure the model is."""

    text: str
    score: float = Field(description="probability in 0..1 that the model gives it")
    answer_type: str | None = Field(description="such as colour, from models that predict it")
    answerable: float | None = Field(
        description="probability that the image can answer the question, from models that have it"
    )


class RankedOut(AnswerOut):
    """The best answer to one question."""

    alternatives: list[AnswerOut] = Field(
        description="with top_k above 1: the next best; first of them an answer that was held back"
    )
    spoken: str = Field(
        description="the answer and how sure it is in words, or why there is none, to be read out"
    )
    abstained: str | None = Field(
        None, description="with abstain_at_risk: why the answer was held back, or null"
    )
    unscored: list[str] = Field([], description="candidates that the model does not know, if any")


class QualityOut(BaseModel):
    """What is wrong with a picture."""

    flaws: dict[str, float] = Field(description="probability of each flaw, each by itself")
    worst: str | None = Field(description="the likeliest flaw, if it is likely")
    unrecognizable: float | None = Field(description="probability that the picture shows nothing")
    retake: bool = Field(description="whether the picture should be taken again")
    advice: str = Field(description="one sentence to be read out; empty where nothing seems wrong")


class AnswersOut(BaseModel):
    """One answer for each question, in their order."""

    model: str
    answers: list[RankedOut]
    images: list[str] = Field(
        description="an id of each image, to ask about it again by image_id while it is kept"
    )
    quality: list[QualityOut] | None = Field(
        description="of each image, where the service has a model that judges it"
    )


class ModelOut(BaseModel):
    """A model that is served."""

    name: str
    default: bool = Field(description="whether it answers where no model is named")
    image_encoder: str
    text_encoder: str
    fusion: str
    head: str
    known_answers: int = Field(description="how many answers it knows from training")
    candidates: bool = Field(description="whether it can choose among given candidates")


class ModelsOut(BaseModel):
    """The models that are served."""

    models: list[ModelOut]


class HealthOut(BaseModel):
    """The service works."""

    status: str


class WorkersHealthOut(HealthOut):
    """The service works, and how many of its workers do."""

    status: str = Field(description="ok, or degraded while a worker that ended is replaced")
    workers: int = Field(description="how many there should be")
    live: int = Field(description="how many take requests now")


class ErrorOut(BaseModel):
    """Why a request was not answered."""

    error: str = Field(description="one sentence: what is wrong and what to do")
    request_id: str = Field(description="names the request in the log; also header X-Request-ID")


def question_model(settings: Settings, models: list[str]) -> type[BaseModel]:
    """The JSON body of `POST /answer`, with the limits of a service."""
    text = Annotated[
        str,
        Field(
            min_length=1,
            max_length=settings.max_question_length,
            json_schema_extra={"pattern": r"\S"},  # checked elsewhere, with a better message
        ),
    ]
    picture = Annotated[str, Field(min_length=1)]
    known_picture = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    fields: dict[str, Any] = {
        "question": (
            text | _some(text, settings.max_questions),
            Field(description="one, or a list: as many as images, or all about one image"),
        ),
        "image": (
            picture | _some(picture, settings.max_questions) | None,
            Field(None, description="the file as base64, or a list of them; data: URLs too"),
        ),
        "image_url": (
            picture | _some(picture, settings.max_questions) | None,
            Field(
                None,
                description="instead of image: a public http or https URL, or a list"
                + ("" if settings.allow_urls else " (not allowed on this service)"),
            ),
        ),
        "image_id": (
            known_picture | _some(known_picture, settings.max_questions) | None,
            Field(None, description="instead of image: an id that an answer gave, or a list"),
        ),
        "top_k": (
            Annotated[int, Field(ge=1, le=MOST_ANSWERS)],
            Field(1, description="how many answers to return for each question"),
        ),
        "candidates": (
            _some(text, MOST_CANDIDATES) | None,
            Field(None, description="the answers to choose from, for models that can"),
        ),
        "calibrated": (
            bool,
            Field(True, description="whether scores are made probabilities, of calibrated models"),
        ),
        "abstain_at_risk": (
            Annotated[float, Field(gt=0, lt=1)] | None,
            Field(
                None,
                description='say "I don\'t know" rather than be wrong in more than this share of '
                "the answers, for calibrated models",
            ),
        ),
        "model": (
            str | None,
            Field(None, description=f"one of {', '.join(models)}; default: {models[0]}"),
        ),
    }
    return create_model(
        "Question",
        __config__=ConfigDict(extra="forbid", strict=True),
        __doc__="One or more questions about one or more images.",
        **fields,
    )


def list_bounds(question: type[BaseModel], settings: Settings) -> dict[str, int]:
    """The fields of a body, and how many items their lists have at most; 0: no list."""
    bounds = dict.fromkeys(("question", "image", "image_url", "image_id"), settings.max_questions)
    bounds["candidates"] = MOST_CANDIDATES
    return {name: bounds.get(name, 0) for name in question.model_fields}


def _some(item: Any, most: int) -> Any:
    return Annotated[list[item], Field(min_length=1, max_length=most)]


def request_body(question: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI description of the body: JSON, or a form with files."""
    as_json = question.model_json_schema()
    form = {name: _form_field(field) for name, field in as_json["properties"].items()}
    files = _form_list({"type": "string", "format": "binary"})
    form["image"] = {**files, "description": "a file, or several"}
    as_form = {**as_json, "properties": form}
    content = {"application/json": as_json, "multipart/form-data": as_form}
    return {"required": True, "content": {kind: {"schema": s} for kind, s in content.items()}}


def _form_field(field: dict[str, Any]) -> dict[str, Any]:
    """A form has no null and no other types: a list is a field given several times."""
    options = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
    first = options[0]
    schema = dict(first) if first.get("type") != "array" else _form_list(first["items"])
    if len(options) > 1:
        schema = _form_list(first, options[1].get("maxItems"))
    return {**schema, "description": field.get("description", "")}


def _form_list(item: dict[str, Any], most: int | None = None) -> dict[str, Any]:
    bound = {} if most is None else {"maxItems": most}
    return {"type": "array", "items": item, "minItems": 1, **bound}
