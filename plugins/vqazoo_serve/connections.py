"""Connections with deadlines and a bound: one that says nothing, or never ends, stops nobody.

Imports uvicorn and h11. Uvicorn itself waits for ever for the end of a request's headers, and for
a client that does not read its answer.
"""

from __future__ import annotations

import asyncio
import http
import json
import logging
import uuid
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vqazoo.amounts import duration
from vqazoo_serve.metrics import Metrics

LOG = logging.getLogger("vqazoo_serve")
AFTER_DEADLINE = 5.0  # seconds for the refusal of a late request, until its connection is cut
LONGEST_HEAD = 16 * 1024  # bytes of the headers of a request
EVENTS_AT_ONCE = 64  # that are taken from one connection before others have their turn
LENGTHS = {b"content-length", b"transfer-encoding"}  # a request has one at most
PAUSE = 0.02  # seconds until the next; times the connections that pause

NEW, KNOWN, SENDING, ANSWERING = range(4)  # how far a connection got


class Paced(h11.Connection):
    """Refuses a request with two lengths, stops after some events, and writes a reply at once.

    A body of a million chunks would keep the event loop for minutes, and so would thousands of
    requests that are sent in a row, not waiting for their answers. The head of a reply is written
    with the beginning of its body: while one is written, other threads hold Python's lock, and
    getting it back takes longer than writing.
    """

    events_left = EVENTS_AT_ONCE
    _head = b""  # that was not written yet

    def send(self, event: Any) -> Any:
        written = super().send(event)
        if isinstance(event, h11.Response):
            self._head = written or b""
            return b""
        if written is not None:
            written, self._head = self._head + written, b""
        return written

    def next_event(self) -> Any:
        if self.events_left == 0:
            return h11.NEED_DATA
        self.events_left -= 1
        event = super().next_event()
        if isinstance(event, h11.Request):
            told = {name for name, _ in event.headers} & LENGTHS
            if len(told) > 1:  # a proxy may believe the other one, and see other requests
                raise h11.RemoteProtocolError("two lengths")
        return event


class Open:
    """The connections of one service that are open, and what they wait for.

    Attributes:
        count: of those that were not cut.
        new: those of which no whole head of a request came yet, the longest silent first; some that
            are further may still be among them.
        paused: those that wait for their turn.
    """

    def __init__(self) -> None:
        self.count = 0
        self.new: dict[Connection, None] = {}
        self.paused: set[Connection] = set()


class Connection(H11Protocol):
    """One connection of a client.

    It is cut `timeout` seconds after its opening if no whole head of a request came, and a little
    later than a request's own deadline, counted from its first byte, if that is not over. Where
    there are more than `most`, the one that got on least is cut for the newest. What the class
    below sets is shared by all connections of one service.
    """

    timeout: float
    keep_alive: float
    most: int
    metrics: Metrics
    open: Open

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = Paced(h11.SERVER, LONGEST_HEAD)
        self.app_state = dict(self.app_state)  # this connection's own
        self._deadline: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self.gone = False
        self._begun = False  # whether some of a request is here
        self._in_a_row = False  # whether the next one was sent before the answer to the last
        self._answered = 0
        self._since = 0.0

    # ---- what asyncio and uvicorn call ------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        self._cut_after(self.timeout)
        self.open.count += 1
        if self.open.count > self.most:
            self._least().cut("connections")
        self.open.new[self] = None

    def _least(self) -> Connection:
        """The connection that got on least, before this one, which is the newest."""
        new = self.open.new
        while new:
            longest = next(iter(new))
            if not longest.gone and longest.standing()[0] == NEW:
                return longest
            del new[longest]
        everyone = cast("set[Connection]", self.connections)
        others = (other for other in everyone if other is not self and not other.gone)
        least = min(others, key=Connection.standing)
        return self if least.standing()[0] == ANSWERING else least

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._pause):
            if timer is not None:
                timer.cancel()
        self.open.paused.discard(self)
        self._leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._pause is not None:  # uvicorn went on reading
            self.conn.receive_data(data)
            self.transport.pause_reading()
            return
        if not self._begun:
            self._begin()
        super().data_received(data)
        self._rest_if_idle()

    def handle_events(self) -> None:
        conn = cast(Paced, self.conn)
        in_a_row, self._in_a_row = self._in_a_row, False
        conn.events_left = 0 if in_a_row else EVENTS_AT_ONCE
        super().handle_events()
        if conn.events_left == 0 and self._pause is None and not self.transport.is_closing():
            self.transport.pause_reading()
            paused = self.open.paused
            turns = len(paused) + (not in_a_row)  # alone, a row of requests waits for nobody
            paused.add(self)
            self._pause = self.loop.call_later(PAUSE * turns, self._go_on)

    def on_response_complete(self) -> None:
        self._answered += 1
        self._begin()  # if the next request is here already, its time starts now
        if self.conn.their_state is h11.SEND_BODY:  # refused, and still sending
            self._cut_after(AFTER_DEADLINE)
        self._in_a_row = bool(self.conn.trailing_data[0])  # others have their turn before it
        super().on_response_complete()
        if self.conn.trailing_data[0]:  # its time is that of the request that waits there
            self._unset_keepalive_if_required()
        self._rest_if_idle()

    def send_400_response(self, msg: str) -> None:
        self._refuse(
            400,
            "http",
            "The request is not valid HTTP/1.1, or its headers are too long or tell two lengths.",
        )

    # ---- deadlines --------------------------------------------------------------------------

    def standing(self) -> tuple[int, float]:
        """How far it got, and since when: the lowest is the first that is cut for another."""
        if not self._begun or not self._has_head:
            return (KNOWN if self._answered else NEW), self._since
        waits = self.conn.their_state is not h11.SEND_BODY and not self.cycle.response_complete
        return (ANSWERING if waits else SENDING), self._since

    def cut(self, why: str) -> None:
        """End the connection at once, whatever is still to be sent."""
        self.metrics.cut.labels(why).inc()
        LOG.warning("A connection was cut.", extra={"fields": {"reason": why}})
        self._leave()
        self.transport.abort()

    def _leave(self) -> None:
        if not self.gone:
            self.gone = True
            self.open.count -= 1
            self.open.new.pop(self, None)

    @property
    def _has_head(self) -> bool:
        """Whether the head of a request is here that is not over."""
        return self.conn.their_state is not h11.IDLE and self.cycle is not None

    def _begin(self) -> None:
        self._begun = True
        self._since = self.app_state["arrived"] = self.loop.time()
        if self in self.open.new:  # no longer the longest silent
            del self.open.new[self]
            self.open.new[self] = None
        self._cut_after(self.timeout)

    def _rest_if_idle(self) -> None:
        """Between two requests: uvicorn ends the connection soon, and this one if it cannot."""
        idle = self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE
        if self._begun and idle and not self.conn.trailing_data[0]:
            self._begun = False
            self._since = self.loop.time()
            self._cut_after(self.keep_alive + AFTER_DEADLINE)

    def _cut_after(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        if self._begun and not self.transport.is_closing():
            if not self._has_head:
                self._refuse(
                    408,
                    "slow",
                    f"The request did not arrive in {duration(self.timeout)}: send less.",
                )
            # The application, which has the same deadline, refuses the others.
            self._deadline = self.loop.call_later(AFTER_DEADLINE, self.cut, "deadline")
        else:
            self.cut("deadline")

    def _go_on(self) -> None:
        self._pause = None
        self.open.paused.discard(self)
        if not self.transport.is_closing():
            if not self.flow.read_paused:
                self.transport.resume_reading()
            self.handle_events()
            self._rest_if_idle()

    def _refuse(self, status: int, reason: str, sentence: str) -> None:
        """Answer what the application never sees, and close."""
        request_id = uuid.uuid4().hex
        self.metrics.count("other", status)
        self.metrics.refused.labels(reason).inc()
        LOG.info(
            "request",
            extra={
                "fields": {
                    "id": request_id,
                    "path": "other",
                    "status": status,
                    "refused": reason,
                }
            },
        )
        if self.cycle is not None and not self.cycle.response_complete:
            started = self.cycle.response_started
            self.cycle.disconnected = True  # nothing of the application's goes out any more
            self.cycle.message_event.set()
            if started:
                self.transport.abort()
                return
        body = json.dumps({"error": sentence, "request_id": request_id}).encode()
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\nContent-Type: application/json"
            f"\r\nContent-Length: {len(body)}\r\nX-Request-ID: {request_id}\r\n"
            f"Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()


def connection_class(timeout: float, keep_alive: float, most: int, metrics: Metrics) -> type:
    """The connections of one service.

    Args:
        timeout: seconds for a request. keep_alive: seconds between two.
        most: connections at once.
    """
    shared = {
        "timeout": timeout,
        "keep_alive": keep_alive,
        "most": most,
        "metrics": metrics,
        "open": Open(),
    }
    return type("ServiceConnection", (Connection,), shared)
