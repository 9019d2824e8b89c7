"""The web application: routes, token, and errors as JSON. Imports fastapi and torch."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import cache, partial
from types import MappingProxyType
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException

import vqazoo
from vqazoo.interfaces import Answer
from vqazoo.model import VQAModel
from vqazoo_serve import bodies, page
from vqazoo_serve.answering import Answered, Answering, can_rank
from vqazoo_serve.decision_routes import add_decisions
from vqazoo_serve.faults import fault_body, status_for
from vqazoo_serve.intake import Intake
from vqazoo_serve.metrics import Metrics
from vqazoo_serve.middleware import Observed
from vqazoo_serve.roster import Roster
from vqazoo_serve.schemas import (
    AnswerOut,
    AnswersOut,
    ErrorOut,
    HealthOut,
    ModelOut,
    ModelsOut,
    QualityOut,
    RankedOut,
    WorkersHealthOut,
    question_model,
    request_body,
)
from vqazoo_serve.settings import Refusal, Settings
from vqazoo_serve.taking import forget_body, taken

BEARER = HTTPBearer(auto_error=False, description="The token of the service.")
REASONS = {
    400: "The body is not what its kind says, such as broken JSON, or cannot be used.",
    401: "The token is missing or wrong.",
    404: "No model has that name.",
    408: "The body did not arrive in time.",
    413: "The request is too large.",
    415: "The body is neither JSON nor a form.",
    422: "A field, a picture or a question cannot be used.",
    429: "The service has as many requests as it takes; Retry-After says when to try again.",
    500: "The service failed.",
    503: "The service ends, or is broken.",
    504: "The answer was not there in time.",
}


class Described(FastAPI):
    """An application whose description also has what bodies are made of, `parts`."""

    parts: Mapping[str, Any] = MappingProxyType({})

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["components"]["schemas"].update(self.parts)
        return document


def create_app(
    models: Mapping[str, VQAModel],
    settings: Settings,
    intake: Intake | None = None,
    roster: Roster | None = None,
) -> FastAPI:
    """The application that serves models, by name; the first one is the default.

    Where it is that of one worker of several, `roster` has them all. Its lifespan starts the thread
    that answers, and at the end waits until all is answered.
    """
    intake = intake or Intake(settings, Metrics())
    metrics = intake.metrics
    answering = Answering(models, settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        answering.batcher.start()
        yield
        await asyncio.to_thread(answering.close)

    app = Described(
        title="vqazoo serve",
        version=vqazoo.__version__,
        lifespan=lifespan,
        description="Answers to questions about images.",
        docs_url=None,
        redoc_url=None,  # those pages load scripts from the network
    )
    app.state.answering = answering
    app.add_middleware(Observed, metrics=metrics)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    _add_answer(app, answering, settings, intake)
    errors = partial(_errors, settings)
    app.parts = add_decisions(app, answering, intake, _guards(settings), errors)
    _add_views(app, answering, settings, metrics)
    _add_health(app, answering, roster)
    return app


# ---- routes ---------------------------------------------------------------------------------


def _add_answer(app: FastAPI, answering: Answering, settings: Settings, intake: Intake) -> None:
    question = question_model(settings, list(answering.models))

    @app.post(
        "/answer",
        summary="Answer questions about images",
        dependencies=_guards(settings),
        responses=_errors(settings, 400, 408, 413, 415, 422, 429, 500, 503, 504),
        response_model_exclude_unset=True,
        openapi_extra={"requestBody": request_body(question)},
    )
    async def answer(request: Request) -> AnswersOut:
        """One question or many, about one image or as many images as questions.

        Send JSON with base64, or a form with files.
        """

        asked, answered = await asked_and_answered(request)
        return _out(answered, asked)

    async def asked_and_answered(request: Request) -> tuple[bodies.Asked, Answered]:
        async def both(body: bytes) -> tuple[bodies.Asked, Answered]:
            read = partial(bodies.read, request, body, question, settings)
            asked = await answering.read_body(len(body), read)
            del body, read
            request.state.sizes.update(
                images=len(asked.images) + len(asked.urls) + len(asked.ids),
                questions=len(asked.questions),
                bytes=sum(map(len, asked.images)),
            )
            return asked, await answering.answer(asked)

        return await taken(request, intake, both)

    if settings.token:  # a form of a page cannot send it
        return

    @app.post("/ask", include_in_schema=False)
    async def ask_by_form(request: Request) -> HTMLResponse:
        """The answers as a page without scripts, with a form for the next question."""
        try:
            asked, answered = await asked_and_answered(request)
        except Refusal as refused:
            return HTMLResponse(
                page.refused(refused.message), refused.status, {**page.HEADERS, **refused.headers}
            )
        return HTMLResponse(page.reply(asked, answered), headers=page.HEADERS)


def _add_views(app: FastAPI, answering: Answering, settings: Settings, metrics: Metrics) -> None:
    guards = _guards(settings)

    @app.get(
        "/models",
        summary="The models that are served",
        dependencies=guards,
        responses=_errors(settings, 500),
    )
    async def models() -> ModelsOut:
        served = list(answering.models.items())
        return ModelsOut(models=[_described(n, m, n == served[0][0]) for n, m in served])

    @app.get(
        "/metrics",
        summary="Counters for Prometheus",
        dependencies=guards,
        response_class=Response,
        responses={
            **_errors(settings, 500),
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        },
    )
    async def read_metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @cache  # the same for everybody
    def described(address: str) -> str:
        return page.render(app.openapi(), not settings.token, address)

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(described(_address(request)), headers=page.HEADERS)


def _address(request: Request) -> str:
    """Where the service is, by the connection: whoever asks may write any Host."""
    host, port = request.scope.get("server") or ("127.0.0.1", None)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}" if port is None else f"http://{shown}:{port}"


def _add_health(app: FastAPI, answering: Answering, roster: Roster | None) -> None:
    def check() -> None:
        if not answering.batcher.alive:
            raise Refusal(503, "broken", "The thread that answers has ended: restart the service.")

    responses = _errors(None, 500, 503)
    if roster is None:

        @app.get("/health", summary="Whether the service works", responses=responses)
        async def health() -> HealthOut:
            check()
            return HealthOut(status="ok")

        return
    workers = roster

    @app.get("/health", summary="Whether the service works", responses=responses)
    async def health_of_workers() -> WorkersHealthOut:
        check()
        live = len(workers.live())
        status = "ok" if live == workers.count else "degraded"
        return WorkersHealthOut(status=status, workers=workers.count, live=live)


def _guards(settings: Settings) -> list[Any]:
    """What must hold before a request is read: the token, where there is one."""
    if not settings.token:
        return []
    expected = settings.token.encode("ascii")

    async def check_token(
        request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]
    ) -> None:
        sent = b"" if given is None else given.credentials.encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(sent, expected):
            await forget_body(request, settings)
            raise Refusal(
                401,
                "token",
                "The token is missing or wrong: send 'Authorization: Bearer TOKEN'.",
                {"WWW-Authenticate": "Bearer"},
            )

    return [Depends(check_token)]


# ---- what goes out --------------------------------------------------------------------------


def _out(answered: Answered, asked: bodies.Asked) -> AnswersOut:
    return AnswersOut(
        model=answered.model,
        answers=[
            _ranked(answer, asked, answered.spoken(number))
            for number, answer in enumerate(answered.answers)
        ],
        images=answered.pictures,
        quality=[QualityOut(**asdict(each), retake=each.retake) for each in answered.qualities]
        or None,
    )


def _ranked(answer: Answer, asked: bodies.Asked, spoken: str) -> RankedOut:
    fields = ("text", "score", "answer_type", "answerable")
    best, *others = (
        {name: getattr(each, name) for name in fields} for each in (answer, *answer.alternatives)
    )
    if asked.abstain_at_risk is not None:  # fields that are not set are not sent
        best["abstained"] = answer.abstained
    if answer.unscored:
        best["unscored"] = list(answer.unscored)
    alternatives = [AnswerOut(**other) for other in others]
    return RankedOut(**best, alternatives=alternatives, spoken=spoken)


def _described(name: str, model: VQAModel, default: bool) -> ModelOut:
    config = model.config
    return ModelOut(
        name=name,
        default=default,
        image_encoder=config.image_encoder.type,
        text_encoder=config.text_encoder.type,
        fusion=config.fusion.type,
        head=config.head.type,
        known_answers=len(model.answers),
        candidates=can_rank(model),
    )


def _errors(
    settings: Settings | None, *statuses: int, body: type[BaseModel] = ErrorOut
) -> dict[int | str, dict[str, Any]]:
    token = (401,) if settings is not None and settings.token else ()
    return {s: {"model": body, "description": REASONS[s]} for s in sorted((*token, *statuses))}


def _error(
    request: Request,
    status: int,
    message: str,
    headers: Mapping[str, str],
    place: str | None = None,
) -> Response:
    path = request.url.path
    status = status_for(path, status)
    body = fault_body(path, status, message, request.state.request_id, place)
    return JSONResponse(body, status, headers=dict(headers))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    request.state.reason = error.reason
    return _error(request, error.status, error.message, error.headers, error.place)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences: dict[int, Callable[[], str]] = {
        404: lambda: "There is nothing here: see /docs for what there is.",
        405: lambda: f"The method {request.method[:20]} is not for this path: see /docs.",
    }
    message = sentences.get(error.status_code, lambda: f"{error.detail}.")()
    return _error(request, error.status_code, message, error.headers or {})
