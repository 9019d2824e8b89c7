"""Connections that never end, never read or never say anything: the service goes on answering."""

from __future__ import annotations

import json
import logging
import re
import resource
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import h11
import httpx
import pytest

from tests.plugins.serve.conftest import CLASSIFIER
from tests.plugins.serve.service import command, metric, serving
from tests.plugins.serve.test_refusals import GOOD
from vqazoo.errors import ConfigError
from vqazoo_serve import connections, server
from vqazoo_serve.logs import MOST, SECONDS, Sparse
from vqazoo_serve.settings import Settings

BODY = json.dumps(GOOD).encode()
HEAD = (
    b"POST /answer HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)
CHUNKED = HEAD[: HEAD.index(b"Content-Length")] + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def quick(models: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A service that waits one second."""
    monkeypatch.setattr(connections, "AFTER_DEADLINE", 0.3)
    with serving({CLASSIFIER: models[CLASSIFIER]}, timeout=1, queue=2) as client:
        yield client


def connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)


def read(connection: socket.socket) -> bytes:
    """All that comes until the other side ends."""
    found = b""
    try:
        while piece := connection.recv(1 << 16):
            found += piece
    except ConnectionResetError:
        pass
    return found


def answer(connection: socket.socket) -> bytes:
    """One answer, whole."""
    found = connection.recv(1)
    while b"\r\n\r\n" not in found:
        found += connection.recv(1)
    length = re.search(rb"content-length: (\d+)", found, re.IGNORECASE)
    assert length
    for _ in range(int(length[1])):
        found += connection.recv(1)
    return found


def sentence(reply: bytes) -> str:
    head, _, body = reply.partition(b"\r\n\r\n")
    found = json.loads(body)
    assert f"X-Request-ID: {found['request_id']}".lower() in head.decode().lower()
    return f"{head.split()[1].decode()} {found['error']}"


def answered(client: httpx.Client) -> bool:
    """On a new connection, as a newcomer would."""
    with httpx.Client(base_url=client.base_url, timeout=30) as newcomer:
        return newcomer.post("/answer", json=GOOD).status_code == 200


def answered_at_last(client: httpx.Client) -> bool:
    """As `answered`, by a newcomer who comes again when the connection is cut."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with suppress(httpx.TransportError):
            return answered(client)
    return False


@contextmanager
def many(client: httpx.Client, count: int, start: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            found.append(stack.enter_context(connected(client)))
            found[-1].sendall(start)
        yield found


# ---- deadlines --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "drip", "words"),
    [
        (b"", b"", None),
        (HEAD[:30], b"", "408 The request did not arrive in 1 second"),
        (HEAD[:-2], b"X-A: b\r\n", "408 The request did not arrive in 1 second"),
        (HEAD, b" ", "408 The request did not arrive in 1 second"),
        (CHUNKED, b"1\r\n \r\n", "408 The request did not arrive in 1 second"),
    ],
    ids=["silent", "half a head", "a head that drips", "a body that drips", "chunks that drip"],
)
def test_a_request_that_never_ends_is_refused_when_its_time_is_over(quick, start, drip, words):
    with connected(quick) as connection:
        begun = time.monotonic()
        connection.sendall(start)
        connection.settimeout(0.2)
        reply = b""
        while time.monotonic() - begun < 10:
            try:
                piece = connection.recv(1 << 16)
            except TimeoutError:
                if drip:
                    connection.sendall(drip)
                continue
            except ConnectionError:
                break
            if not piece:
                break
            reply += piece
            drip = b""
        assert 0.8 < time.monotonic() - begun < 5
    if words is None:
        assert reply == b""
    else:
        assert sentence(reply).startswith(words)
    assert answered(quick)


def test_the_time_of_a_request_counts_from_its_first_byte_not_from_its_last_header(quick):
    with connected(quick) as connection:
        begun = time.monotonic()
        connection.sendall(HEAD[:20])
        time.sleep(0.7)
        connection.sendall(HEAD[20:])
        assert sentence(answer(connection)).startswith("408")
        assert 0.9 < time.monotonic() - begun < 1.6


def test_the_time_of_the_next_request_of_a_connection_counts_from_its_own_first_byte(quick):
    with connected(quick) as connection:
        for _ in range(3):
            connection.sendall(HEAD + BODY)
            assert b'"answers"' in answer(connection)
            time.sleep(0.6)


def test_a_client_that_never_reads_is_cut(quick):
    """Ten thousand requests in a row for a page, none of whose answers is read."""
    with connected(quick) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.5)
        with suppress(OSError):  # nothing more fits
            connection.sendall(b"GET /docs HTTP/1.1\r\nHost: a\r\n\r\n" * 100_000)
        until = time.monotonic() + 10
        while not metric(quick, 'vqazoo_connections_cut_total{reason="deadline"}'):
            assert time.monotonic() < until
            time.sleep(0.1)
    assert answered(quick)


def test_requests_in_a_row_on_many_connections_take_turns_with_others(models):
    """Twenty connections of a thousand requests each: without turns, thousands in two seconds."""
    row = b"GET /docs HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
    counted = 'vqazoo_requests_total{path="/docs",status="200"}'
    with serving({CLASSIFIER: models[CLASSIFIER]}) as client, many(client, 20, row):
        time.sleep(1)  # until all of them are read
        before, begun = metric(client, counted), time.monotonic()
        time.sleep(2)
        served = metric(client, counted) - before
        assert 0 < served < 100 * (time.monotonic() - begun)  # 53 a second
        assert answered(client)


def test_requests_in_a_row_are_answered_in_order(quick):
    with connected(quick) as connection:
        requests = [
            HEAD + BODY,
            b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ]
        connection.sendall(b"".join(requests))
        states = re.findall(rb"HTTP/1.1 (\d+)", read(connection))
    assert states == [b"200", b"200", b"404"]


# ---- places -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [b"", HEAD[:-2], HEAD, HEAD + BODY[:50], CHUNKED],
    ids=["silent", "half a head", "no body", "half a body", "no chunk"],
)
def test_three_hundred_that_never_end_take_nobodys_place(models, start):
    """More than there are places, on a service that would wait for them half a minute."""
    with (
        serving({CLASSIFIER: models[CLASSIFIER]}, queue=2) as client,
        many(client, 300, start),
    ):
        assert all(answered(client) for _ in range(3))
        assert metric(client, "vqazoo_requests_in_flight") <= 256
        assert metric(client, 'vqazoo_connections_cut_total{reason="connections"}') >= 300 - 256


def test_a_burst_of_connections_loses_no_newcomer(models):
    with (
        serving({CLASSIFIER: models[CLASSIFIER]}, queue=2) as client,
        ThreadPoolExecutor(2) as pool,
    ):

        def flood() -> None:
            with many(client, 500, b""):
                pass

        floods = [pool.submit(flood) for _ in range(2)]
        while not all(one.done() for one in floods):
            with httpx.Client(base_url=client.base_url, timeout=30) as newcomer:
                assert newcomer.get("/health").status_code == 200


def test_of_those_that_send_more_than_is_held_the_slowest_is_refused(models):
    part = CHUNKED + b"E1000\r\n" + b" " * 0xE1000 + b"\r\n"
    with (
        serving({CLASSIFIER: models[CLASSIFIER]}, queue=2, max_body=1 << 20) as client,
        many(client, 2, part) as slow,
        connected(client) as third,
    ):
        while metric(client, "vqazoo_requests_in_flight") < 2:
            time.sleep(0.02)
        third.sendall(part)
        assert sentence(answer(slow[0])).startswith("429 The service holds as many bytes")
        third.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))
        assert b" 200 OK" in answer(third)


def test_a_million_chunks_of_one_byte_delay_nobody_and_a_few_are_read(models):
    def chunks(body: bytes) -> bytes:
        return b"".join(b"1\r\n%c\r\n" % one for one in body)

    served = serving({CLASSIFIER: models[CLASSIFIER]}, timeout=5)
    with served as client, connected(client) as few:
        few.sendall(CHUNKED + chunks(BODY) + b"0\r\n\r\n")
        assert b" 200 OK" in answer(few)
        with many(client, 4, CHUNKED) as hostile:
            for connection in hostile:
                connection.setblocking(False)
            million = chunks(b" " * 1_000_000)
            waits = []
            for _ in range(30):
                for connection in hostile:
                    with suppress(BlockingIOError):
                        connection.send(million)
                begun = time.perf_counter()
                assert client.get("/health").status_code == 200
                waits.append(time.perf_counter() - begun)
        assert sorted(waits)[len(waits) // 2] < 0.1  # half of them, since the machine may be loaded


# ---- what is no request -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
        b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
        b"GET /health HTTP/1.1\r\nA: " + b"b" * 100_000,
        CHUNKED + b"zz\r\n",
        HEAD.replace(b"Length: ", b"Length: -"),
        HEAD.replace(b"Length: ", b"Length: 1\r\nContent-Length: "),
    ],
    ids=range(6),
)
def test_what_is_no_http_is_a_sentence(quick, sent):
    with connected(quick) as connection:
        connection.sendall(sent)
        reply = read(connection)
    if reply:  # where much was sent after it, the system may forget the answer
        assert sentence(reply).startswith("400 The request is not valid HTTP/1.1")
    assert answered(quick)


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "TLS/1.0"])
def test_no_upgrade_is_made(quick, upgrade):
    headers = {
        "Connection": "Upgrade",
        "Upgrade": upgrade,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    assert quick.get("/answer", headers=headers).status_code == 405
    assert quick.get("/health", headers=headers).status_code == 200


# ---- the log and the process ------------------------------------------------------------------


def record(line: int, created: float, level: int = logging.WARNING) -> logging.LogRecord:
    found = logging.LogRecord("asyncio", level, "events.py", line, "out of files", None, None)
    found.created = created
    return found


def test_the_log_says_a_thing_a_few_times_and_then_how_often_it_did_not():
    sparse = Sparse()
    passed = [sparse.filter(record(1, 100.0 + n / 1000)) for n in range(5000)]
    assert sum(passed) == MOST
    assert sparse.filter(record(2, 101.0))
    assert all(sparse.filter(record(1, 101.0, logging.INFO)) for _ in range(100))
    later = record(1, 100.0 + SECONDS + 6)
    assert sparse.filter(later)
    assert vars(later)["fields"] == {"left_out": 5000 - MOST}


@pytest.mark.parametrize(
    ("soft", "hard", "allowed"),
    [(1024, 1024, (256, 16)), (300, 4096, (256, 16)), (256, 256, (128, 16)), (130, 130, (34, 8))],
)
def test_connections_fit_into_the_files_that_may_be_open(monkeypatch, soft, hard, allowed):
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    most, backlog = server._allowed(256, server.MOST_BACKLOG)
    assert (most, backlog) == allowed
    assert most + 4 * backlog + server.OTHER_FILES <= limits[-1][0] <= hard


def test_too_few_files_are_said(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    with pytest.raises(ConfigError, match="allows this process 64 open files, too few to serve"):
        server._allowed(256, server.MOST_BACKLOG)


def test_ctrl_c_twice_refuses_what_is_not_answered_and_logs_no_traceback(tmp_path):
    """One request waits for others, one is half here, and 600 connections say nothing."""
    log = tmp_path / "log"
    options = ["--max-wait-ms", "100000", "--max-batch", "8", "--timeout", "200"]
    with command(log, CLASSIFIER, *options) as (client, process):  # noqa: SIM117
        with (
            many(client, 600, b"G") as silent,
            connected(client) as whole,
            connected(client) as half,
        ):
            whole.sendall(HEAD + BODY)
            half.sendall(HEAD + BODY[:20])
            while metric(client, "vqazoo_requests_in_flight") < 2:
                time.sleep(0.02)
            assert len(silent) == 600
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)  # changes nothing
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            assert sentence(read(whole)).startswith("503 The service ends")
            assert sentence(read(half)).startswith("503 The service ends")
            assert process.wait(timeout=30) == 130
    text = log.read_text()
    assert len(text) < 20_000
    for word in ("Traceback", "CancelledError", '"level": "error"'):
        assert word not in text
    assert '"event": "Ended before all was answered.", "requests": 2' in text


def test_connections_are_counted_however_they_end(models, monkeypatch):
    shared: list[connections.Open] = []
    kept = connections.Open.__init__
    monkeypatch.setattr(
        connections.Open, "__init__", lambda self: (shared.append(self), kept(self))[1]
    )
    monkeypatch.setattr(Settings, "connections", 8)
    with serving({CLASSIFIER: models[CLASSIFIER]}) as client:
        (counted,) = shared
        for start in (b"", HEAD[:30], HEAD, HEAD + BODY, b"\x16\x03\x01\r\n\r\n"):
            with many(client, 20, start):
                # While all others are being answered it is the newest that is cut, and tries again.
                assert answered(client) if start != HEAD + BODY else answered_at_last(client)
                assert counted.count <= 9
        until = time.monotonic() + 30
        while counted.count > 1 and time.monotonic() < until:  # the client's own may be open
            time.sleep(0.05)
        assert counted.count <= 1
        assert len(counted.new) <= counted.count
        assert not counted.paused


def test_a_request_with_two_lengths_is_refused_and_nothing_behind_it_is_read(quick):
    smuggled = b"GET /models HTTP/1.1\r\nHost: a\r\n\r\n"
    two = (
        CHUNKED[:-2] + b"Content-Length: %d\r\n\r\n" % (5 + len(smuggled)) + b"0\r\n\r\n" + smuggled
    )
    with connected(quick) as connection:
        connection.sendall(two)
        reply = read(connection)
    assert sentence(reply).startswith("400 The request is not valid HTTP/1.1")
    assert reply.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(("body", "status"), [(b"red", 200), (b"", 204)])
def test_the_head_of_a_reply_is_written_with_its_body(body: bytes, status: int) -> None:
    connection = connections.Paced(h11.SERVER)
    connection.receive_data(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n")
    while connection.next_event() is not h11.PAUSED and connection.their_state is not h11.DONE:
        pass
    headers = [("Content-Length", str(len(body)))] if body else []
    events = [h11.Response(status_code=status, headers=headers), h11.Data(data=body)]
    written = [connection.send(event) for event in (*events, h11.EndOfMessage())]
    assert written[0] == b""
    assert written[1] is not None
    assert written[1].startswith(f"HTTP/1.1 {status}".encode())
    assert written[1].endswith(b"\r\n\r\n" + body)
    assert not written[2]
