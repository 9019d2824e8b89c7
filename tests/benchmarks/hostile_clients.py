"""`vqazoo serve` with slow, cut and hostile clients among honest ones, on loopback.

    python tests/benchmarks/hostile_clients.py [--requests 10000] [--pause 5.0] [--kinds NAME ...]

Honest requests, compared with the models' own answers, first alone and then beside one thread of
each hostile kind in another process, which comes again after a pause. Prints lost and crossed
answers, latency with and without them, memory, the size of the service's log, and how the service
ended what is hostile. Two cores are shared by the service and all clients, so that the work of
making and sending hostile requests slows the honest ones too.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import multiprocessing
import os
import re
import socket
import statistics
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

from PIL import Image
from serving import TINY, Service, lost_and_crossed, mixture, percentiles, service

CLIENTS = 8
HEAD = b"POST /answer HTTP/1.1\r\nHost: a\r\nContent-Type: %b\r\n"
JSON, FORM = HEAD % b"application/json", HEAD % b"multipart/form-data; boundary=y"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
GOOD_SIZE = b"Content-Length: 1000\r\n\r\n"


def whole(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def many_pixels() -> bytes:
    """Thirty-two pictures of 40 megapixels each, all different, in half a megabyte."""
    file = io.BytesIO()
    Image.new("1", (8000, 5000)).save(file, "PNG")
    head = b'--y\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    ask = b'--y\r\nContent-Disposition: form-data; name="question"\r\n\r\nwhat?\r\n'
    files = b"".join(head + file.getvalue() + bytes([n]) + b"\r\n" for n in range(8))
    return whole(FORM, ask + files + b"--y--\r\n")


def part(name: bytes) -> bytes:
    return b'--y\r\nContent-Disposition: form-data; name="%b"\r\n\r\nx\r\n' % name


def bodies() -> dict[str, bytes]:
    """Whole requests by kind, each sent at once."""
    keys = b",".join(b'"k%d":0' % number for number in range(1_600_000))
    return {
        "unknown keys": whole(JSON, b"{" + keys + b"}"),
        "deep lists": whole(JSON, b'{"question": ' + b"[" * 10_000_000),
        "a long number": whole(JSON, b'{"top_k": ' + b"9" * 10_000_000 + b"}"),
        "one key again": whole(JSON, b"{" + b'"top_k": 1,' * 1_000_000 + b"}"),
        "parts": whole(FORM, part(b"question") * 100_000 + b"--y--\r\n"),
        "almost boundaries": whole(FORM, b"\r\n--" * 4_000_000),
        "too large": whole(JSON, b" " * 30_000_000),
        "headers": b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 100_000,
        "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        "upgrade": b"GET /answer HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket"
        b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YQ==\r\n\r\n",
        "in a row": b"GET /docs HTTP/1.1\r\nHost: a\r\n\r\n" * 200,
        "large pictures": many_pixels(),
        "one-byte chunks": JSON + CHUNKED + b"1\r\n \r\n" * 500_000,
        "a broken chunk": JSON + CHUNKED + b"zz\r\n",
    }


def starts() -> dict[str, tuple[int, bytes, bytes]]:
    """Connections at once that are left open by kind, what they send, and what drips after it."""
    return {
        "silent": (400, b"", b""),
        "half a head": (400, JSON, b""),
        "a head that drips": (50, JSON, b"A: b\r\n"),
        "a body that drips": (100, JSON + GOOD_SIZE, b" "),
        "chunks that drip": (50, JSON + CHUNKED, b"1\r\n \r\n"),
        "never reads": (20, b"GET /docs HTTP/1.1\r\nHost: a\r\n\r\n" * 1000, b""),
    }


def send_whole(port: int, content: bytes, until: float) -> str:
    """Send at once, and how it was answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            connection.sendall(content)
            return connection.recv(12).decode("latin-1") or "closed"
        except TimeoutError:
            return "nothing in a minute"
        except OSError:
            return "cut"


def cut_in_the_middle(port: int, content: bytes, until: float) -> str:
    """Send half of it, and reset the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(content[: len(content) // 2])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return "left"


def leave_open(port: int, count: int, start: bytes, drip: bytes, until: float) -> str:
    """Open connections and leave them open for some seconds, or until the test ends."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            one.setblocking(False)
            opened.append(one)
            with contextlib.suppress(OSError):
                one.send(start)
        for _ in range(10):
            time.sleep(0.5)
            for one in opened:
                with contextlib.suppress(OSError):
                    one.send(drip)
    return "left"


def kinds() -> dict[str, Callable[[int, float], str]]:
    """What a hostile client does, by name."""

    def bound(function: Callable[..., str], *values: object) -> Callable[[int, float], str]:
        return lambda port, until: function(port, *values, until)

    found = {name: bound(send_whole, content) for name, content in bodies().items()}
    found |= {name: bound(leave_open, *values) for name, values in starts().items()}
    half = whole(JSON, b'{"image": "' + b"A" * 1_000_000)
    return found | {"cut in the middle": bound(cut_in_the_middle, half)}


def attack(port: int, names: Sequence[str], pause: float, stop: Event, place: Connection) -> None:
    """One thread for each kind, until it is stopped; sends back how often each ended how."""
    ends: collections.Counter[str] = collections.Counter()
    found = kinds()
    threads = []

    def work(name: str) -> None:
        while not stop.is_set():
            try:
                end = found[name](port, pause)
            except OSError as error:
                end = f"not connected ({type(error).__name__})"
            ends[f"{name}: {end}"] += 1
            stop.wait(pause)

    for name in names or found:
        threads.append(threading.Thread(target=work, args=(name,)))
        threads[-1].start()
    place.send("started")
    for thread in threads:
        thread.join()
    place.send(dict(ends))


def main(count: int, pause: float, names: Sequence[str]) -> None:
    asks, own = mixture(count)
    warm = asks[: count // 10]
    with tempfile.TemporaryFile() as log:
        errors = os.dup(2)
        os.dup2(log.fileno(), 2)  # the service's, from here on
        try:
            with service(TINY) as served, ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(lambda ask: served.ask(ask, 2), warm))
                memory = [served.memory()]
                alone = list(pool.map(lambda ask: served.ask(ask, 2), asks))
                memory.append(served.memory())
                beside, ends = beside_hostile(served, pool, asks, pause, names)
                memory.append(served.memory())
                time.sleep(35)  # the longest that a connection may be left open
                list(pool.map(lambda ask: served.ask(ask, 2), warm))
                memory.append(served.memory())
                _, text = served.get("/metrics")
        finally:
            os.dup2(errors, 2)
        log.seek(0)
        lines = log.read().splitlines()
    found = re.findall(rb'^vqazoo_connections_cut_total\{reason="(\w+)"\} (\S+)', text, re.M)
    cuts = [f"{float(number):.0f} for {why.decode()}" for why, number in found]
    for name, replies in (("alone", alone), ("beside hostile clients", beside)):
        lost, crossed = lost_and_crossed(asks, replies, own)
        print(
            f"{name}: {count:,} requests of {CLIENTS} clients: {lost} lost, {crossed} crossed; "
            f"{percentiles([one for one, _ in replies])}"
        )
    p99 = [statistics.quantiles([one for one, _ in r], n=100)[98] for r in (alone, beside)]
    print(f"p99 beside hostile clients / alone: {p99[1] / p99[0]:.2f}")
    print(
        "memory: " + ", ".join(f"{one:.0f} MB" for one in memory) + " (warm, after those alone, "
        "after those beside, and when all is quiet again)"
    )
    others = [line for line in lines if json.loads(line)["event"] != "request"]
    print(
        f"log: {len(lines):,} lines, {sum(map(len, lines)) / 1e6:.1f} MB, {len(others)} of them "
        f"no requests; connections cut: {', '.join(cuts) or 'none'}"
    )
    print(f"hostile: {sum(ends.values()):,} times, a connection or many at a time")
    for name, number in sorted(ends.items()):
        print(f"    {name}: {number}")


def beside_hostile(
    served: Service,
    pool: ThreadPoolExecutor,
    asks: Sequence[object],
    pause: float,
    names: Sequence[str],
) -> tuple[list[tuple[float, object]], dict[str, int]]:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    ours, theirs = context.Pipe()
    hostile = context.Process(target=attack, args=(served.port, names, pause, stop, theirs))
    hostile.start()
    assert ours.recv() == "started"
    replies = list(pool.map(lambda ask: served.ask(ask, 2), asks))
    stop.set()
    ends = ours.recv()
    hostile.join()
    return replies, ends


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--pause", type=float, default=5.0, help="seconds between two of a kind")
    parser.add_argument("--kinds", nargs="*", default=[], help="only those of that name")
    chosen = parser.parse_args()
    main(chosen.requests, chosen.pause, chosen.kinds)
