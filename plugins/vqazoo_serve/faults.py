"""The body of an error, in the form that the clients of its path read. Imports pydantic."""

from __future__ import annotations

from typing import Any

from vqazoo_serve.decision_schemas import Detail, DetailOut, Fault, FaultOut
from vqazoo_serve.schemas import ErrorOut

OPENAI, SYSTEMONE = "/v1/", "/v1/systemone"
CODES = {  # what OpenAI calls them
    401: "invalid_api_key",
    413: "request_too_large",
    429: "rate_limit_exceeded",
    500: "server_error",
}


def status_for(path: str, status: int) -> int:
    """The status of a path for what another would call so: OpenAI has 400 for every fault of a
    body."""
    return 400 if status == 422 and _is_openai(path) else status


def fault_body(
    path: str, status: int, message: str, request_id: str, place: str | None = None
) -> dict[str, Any]:
    """The JSON of an error.

    Args:
        place: in the body, of what cannot be used.
    """
    if _is_openai(path):
        kind = "server_error" if status >= 500 else "invalid_request_error"
        kind = "rate_limit_error" if status == 429 else kind
        code = "model_not_found" if status == 404 and place == "model" else CODES.get(status)
        fault = Fault(message=message, type=kind, param=place, code=code)
        return FaultOut(error=fault, request_id=request_id).model_dump()
    if path == SYSTEMONE:
        where: list[str | int] = ["body", *place.split(".")] if place else ["body"]
        listed = [Detail(loc=where, msg=message, type="value_error")]
        told = DetailOut(detail=listed if status == 422 else message, request_id=request_id)
        return told.model_dump()
    return ErrorOut(error=message, request_id=request_id).model_dump()


def _is_openai(path: str) -> bool:
    return path.startswith(OPENAI) and path != SYSTEMONE
