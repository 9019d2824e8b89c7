"""Around every request: an id, one line in the log, metrics, and no traceback for anybody.

Imports starlette and prometheus_client.
"""

from __future__ import annotations

import logging
import random
import time
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vqazoo_serve.faults import fault_body
from vqazoo_serve.metrics import Metrics

LOG = logging.getLogger("vqazoo_serve")
CLIENT_GONE = 499  # for the log and the metrics; there is nobody to send it to


class Observed:
    """ASGI middleware that logs sizes and times of a request, never what it holds."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        # Asking the system for each id gives up Python's lock, and getting it back takes a while.
        self._random = random.Random()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"{self._random.getrandbits(128):032x}"
        state: dict[str, Any] = scope.setdefault("state", {})
        started = state.get("arrived", time.monotonic())  # its first byte
        state.update(request_id=request_id, sizes={}, reason=None)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                id_header = (b"x-request-id", request_id.encode("ascii"))
                message["headers"] = [*message.get("headers", []), id_header]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception as error:
            LOG.error("failed", extra={"fields": {"id": request_id}}, exc_info=error)
            if status == 0:
                sentence = "The service failed on this request: its log says more under this id."
                body = fault_body(scope["path"], 500, sentence, request_id)
                await JSONResponse(body, 500)(scope, receive, send_with_id)
        finally:
            self._record(scope, state, status, time.monotonic() - started)

    def _record(self, scope: Scope, state: dict[str, Any], status: int, seconds: float) -> None:
        # The path of the route: what a client writes there may be anything.
        path = getattr(scope.get("route"), "path", "other")
        self._metrics.count(path, status)
        self._metrics.seconds.labels(path).observe(seconds)
        if state["reason"] is not None:
            self._metrics.refused.labels(state["reason"]).inc()
        fields = {
            "id": state["request_id"],
            "path": path,
            "status": status,
            "ms": round(1000 * seconds, 1),
            **state["sizes"],
        }
        if state["reason"] is not None:
            fields["refused"] = state["reason"]
        LOG.info("request", extra={"fields": fields})
