"""The paths of decisions: the openai client's, and System One's. Imports fastapi."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel

from vqazoo_serve.answering import Answering, not_served
from vqazoo_serve.batching import Outcome
from vqazoo_serve.bodies import JSON
from vqazoo_serve.decision_answers import decisions_out, systemone_out
from vqazoo_serve.decision_bodies import Sheet, WordsOf
from vqazoo_serve.decision_schemas import (
    DecisionsOut,
    DetailOut,
    FaultOut,
    ServedModel,
    ServedModels,
    SystemOneOut,
    decisions_body,
    systemone_body,
)
from vqazoo_serve.intake import Intake
from vqazoo_serve.openai_body import read_decisions
from vqazoo_serve.settings import Settings
from vqazoo_serve.systemone_body import read_systemone
from vqazoo_serve.taking import taken

Reading = Callable[[bytes, type[BaseModel], WordsOf, Settings], Sheet]
Errors = Callable[..., dict[int | str, dict[str, Any]]]
REFERENCE = "#/components/schemas/{model}"
FAILING = (408, 413, 415, 429, 500, 503, 504)


def add_decisions(
    app: FastAPI, answering: Answering, intake: Intake, guards: list[Any], errors: Errors
) -> dict[str, Any]:
    """Add the paths; what their bodies are made of is given back, for the page of the interface.

    Args:
        guards: what must hold before a request is read.
        errors: the responses with these statuses, of a model of their bodies.
    """
    names = list(answering.models)
    openai_body, state_body = decisions_body(names), systemone_body(names)
    parts: dict[str, Any] = {}

    async def decided(
        request: Request, read: Reading, body: type[BaseModel]
    ) -> tuple[Sheet, list[Outcome | None]]:
        async def answered(raw: bytes) -> tuple[Sheet, list[Outcome | None]]:
            size = len(raw)
            sheet = await asyncio.get_running_loop().run_in_executor(
                answering.reading, read, raw, body, answering.words_of, intake.settings
            )
            del raw
            request.state.sizes.update(
                images=len(sheet.sources), questions=len(sheet.rows), bytes=size
            )
            return sheet, await answering.decide(sheet)

        return await taken(request, intake, answered, (JSON,))

    @app.post(
        "/v1/decisions",
        summary="Decide typed questions about a picture",
        dependencies=guards,
        responses=errors(400, 404, *FAILING, body=FaultOut),
        openapi_extra={"requestBody": _body(openai_body, parts)},
    )
    async def decisions(request: Request) -> DecisionsOut:
        """As `client.decisions.create` of the package openai asks and reads it."""
        return decisions_out(*await decided(request, read_decisions, openai_body))

    @app.post(
        "/v1/systemone",
        summary="Decide typed questions about a state with pictures",
        dependencies=guards,
        responses=errors(400, 404, 422, *FAILING, body=DetailOut),
        openapi_extra={"requestBody": _body(state_body, parts)},
    )
    async def systemone(request: Request) -> SystemOneOut:
        """As `transformers serve` takes and answers it."""
        return systemone_out(*await decided(request, read_systemone, state_body))

    _add_models(app, answering, guards, errors)
    return parts


def _add_models(app: FastAPI, answering: Answering, guards: list[Any], errors: Errors) -> None:
    served = {name: ServedModel(id=name, created=int(time.time())) for name in answering.models}

    @app.get(
        "/v1/models",
        summary="The names of the models, in OpenAI's form",
        dependencies=guards,
        responses=errors(500, body=FaultOut),
    )
    async def listed() -> ServedModels:
        return ServedModels(data=list(served.values()))

    @app.get(
        "/v1/models/{name:path}",
        summary="One of the models, in OpenAI's form",
        dependencies=guards,
        responses=errors(404, 500, body=FaultOut),
    )
    async def retrieved(name: str) -> ServedModel:
        if name not in served:
            raise not_served(name, served, status=404, where="GET /v1/models")
        return served[name]


def _body(model: type[BaseModel], parts: dict[str, Any]) -> Mapping[str, Any]:
    """The OpenAPI description of a body; the objects it is made of go into `parts`."""
    schema = model.model_json_schema(ref_template=REFERENCE)
    parts.update(schema.pop("$defs", {}))
    return {"required": True, "content": {JSON: {"schema": schema}}}
