"""What a visitor may ask of the demo: an allow-list in front of Gradio. Imports Starlette.

Gradio checks the paths that visitors name only for apps that its own `launch` started, and it
fetches addresses for visitors; this page is mounted, and fetches nothing. So nothing reaches
Gradio but the requests that the page itself makes, and of files only those that were uploaded to
this demo.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vqazoo.amounts import in_bytes

JOIN = "/gradio_api/queue/join"
UPLOAD = "/gradio_api/upload"
FILE = "/gradio_api/file="
# The requests of the page, as Gradio 6 makes them.
READ = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(assets|static|svelte)/.+"
    r"|/gradio_api/(startup-events|app_id|upload_progress|queue/data|heartbeat/[^/]+)"
    rf"|{FILE}.+"
)
WRITE = re.compile(rf"{JOIN}|{UPLOAD}|/gradio_api/(cancel|reset)/?")
MOST_ASKED = 1 << 20  # bytes of a question with its choices
MOST_UPLOADED = 1 << 30  # bytes of all pictures that lie in the folder, or arrive, at a time
MOST_AT_ONCE = 51 << 20  # bytes of an upload, of which a picture takes 50 at most
KEPT = ("fn_index", "session_hash", "trigger_id")  # of what the page sends with its values


class Refused(Exception):
    """A request that is answered by one sentence; `status` is the HTTP status."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Doors:
    """Lets through what the page asks for, and refuses the rest in one sentence.

    Args:
        app: the page.
        folder: where Gradio puts uploads and the page its examples; of no other file is anything
            read, told or even looked up.
        events: how many values the page sends with each thing that can happen, by number.
    """

    def __init__(self, app: ASGIApp, folder: Path, events: Mapping[int, int]) -> None:
        self.app = app
        self.events = events
        self.folder = Path(os.path.realpath(folder))
        self._arriving = 0  # bytes of uploads that are not over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            kept = 0
            try:
                receive = await self._checked(scope, receive)
                if scope["path"] == UPLOAD:
                    kept = self._keep_room(Headers(scope=scope))
            except Refused as error:
                answer = JSONResponse({"detail": str(error)}, error.status)
                await answer(scope, receive, send)
            except ClientDisconnect:
                return
            else:
                try:
                    await self.app(scope, receive, send)
                finally:
                    self._arriving -= kept
        else:  # websockets, which the page does not use
            await send({"type": "websocket.close", "code": 1008})

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        """What Gradio may receive of a request. Raises Refused."""
        path, reads = scope["path"], scope["method"] in ("GET", "HEAD")
        if not (READ if reads else WRITE).fullmatch(path) or scope["method"] not in (
            "GET",
            "HEAD",
            "POST",
        ):
            raise Refused(404, "The page has nothing under this address.")
        if path.startswith(FILE):
            self.uploaded(path.removeprefix(FILE))
        if reads:
            return receive
        headers = Headers(scope=scope)
        _check_origin(headers)
        if path != JOIN:
            return receive
        return _replay(await self._asked(Request(scope, receive), scope), receive)

    async def _asked(self, request: Request, scope: Scope) -> bytes:
        """The body of a question, with nothing in it but plain values and uploaded pictures."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_ASKED:
                raise Refused(413, f"A question takes at most {in_bytes(MOST_ASKED)}.")
        try:
            sent = json.loads(body)
            values = {name: sent[name] for name in KEPT if name in sent}
            values["data"] = [self._value(value) for value in sent["data"]]
            self._check_event(sent)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise Refused(400, "The request is not one of this page: reload it.") from error
        checked = json.dumps(values | {"event_data": None}).encode()
        length = (b"content-length", str(len(checked)).encode())
        scope["headers"] = [header for header in scope["headers"] if header[0] != length[0]] + [
            length
        ]
        return checked

    def _check_event(self, sent: Mapping[str, Any]) -> None:
        """Raises ValueError: it is no event of the page, or has not what the page sends with it."""
        event, trigger = sent["fn_index"], sent.get("trigger_id")
        if type(event) is not int or len(sent["data"]) != self.events.get(event):
            raise ValueError("no event of the page")
        if not isinstance(sent["session_hash"], str) or not isinstance(trigger, int | None):
            raise ValueError("no session of the page")

    def _value(self, value: Any) -> Any:
        """A value of a question: text, a choice, a list of texts, or an uploaded picture."""
        if isinstance(value, Mapping):
            path = str(self.uploaded(value.get("path")))
            name = value.get("orig_name")
            return {
                "path": path,
                "orig_name": name if isinstance(name, str) else None,
                "meta": {"_type": "gradio.FileData"},
            }
        if isinstance(value, list):
            if not all(isinstance(text, str) for text in value):
                raise TypeError("a list holds texts")
            if len(set(value)) < len(value):  # one would be asked again and again
                raise ValueError("a list holds each text once")
            return value
        return value

    def uploaded(self, path: Any) -> Path:
        """The file of that path, if it is a plain one inside this demo's own folder.

        Raises:
            Refused: it is not; the sentence is the same whether there is such a file or not.
        """
        refused = Refused(403, "Only pictures that were uploaded to this demo can be used.")
        if not isinstance(path, str) or "\0" in path or not os.path.isabs(path):
            raise refused
        if not Path(os.path.normpath(path)).is_relative_to(self.folder):
            raise refused  # before the disk is asked, so that how long it takes tells nothing
        real = Path(os.path.realpath(path))
        try:
            plain = stat.S_ISREG(real.stat().st_mode)
        except (OSError, ValueError):
            plain = False
        if not plain or not real.is_relative_to(self.folder):
            raise refused
        return real

    def _keep_room(self, headers: Headers) -> int:
        """Keep room for an upload while it arrives, so that no other takes it; how many bytes.

        Raises Refused: it does not tell its length, is larger than a picture, or there is no room.
        """
        length = headers.get("content-length", "")
        # Of both headers the server heeds only the second: the length would be any number.
        if not length.isdecimal() or len(length) > 20 or "transfer-encoding" in headers:
            raise Refused(411, "An upload must say its length: use the page.")
        there = sum(
            _size(Path(at) / name) for at, _, names in os.walk(self.folder) for name in names
        )
        if there + self._arriving + int(length) > MOST_UPLOADED:
            raise Refused(
                413, "The demo holds as many pictures as it may: restart it to make room."
            )
        if int(length) > MOST_AT_ONCE:
            raise Refused(413, "An upload is one picture of at most 50 MB: make it smaller.")
        self._arriving += int(length)
        return int(length)


def _check_origin(headers: Headers) -> None:
    """Raises Refused: another page makes the visitor's browser send this."""
    origin = headers.get("origin")
    if origin is None:  # no browser
        return
    hosts = (headers.get("host", ""), headers.get("x-forwarded-host", ""))
    if origin.partition("://")[2] not in filter(None, hosts):
        raise Refused(403, "Only the demo's own page can use it.")


def _replay(body: bytes, rest: Receive) -> Receive:
    """Receives one body, then what is to come of the connection."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await rest()

    return receive


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # gone since it was listed
        return 0
