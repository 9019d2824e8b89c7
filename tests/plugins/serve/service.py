"""A service on loopback for tests: uvicorn in a thread of this process, or as the command."""

from __future__ import annotations

import io
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest_socket
from PIL import Image

from vqazoo.model import VQAModel
from vqazoo_serve.server import bind, server_for
from vqazoo_serve.settings import Settings
from vqazoo_tiny_clip.render import draw_scene

WAIT = 60.0  # seconds a loaded machine may need


def allow_loopback() -> None:
    """Let this process reach addresses of this machine, and no others."""
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1", "127.0.0.2"], allow_unix_socket=True)


@contextmanager
def serving(models: Mapping[str, VQAModel], **settings: Any) -> Iterator[httpx.Client]:
    """A client of a service that runs in a thread."""
    allow_loopback()
    server = server_for(models, Settings(**settings))
    with bind("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        host, port = listener.getsockname()
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=WAIT) as client:
            try:
                wait_for(client)
                yield client
            finally:
                server.should_exit = True
                thread.join()


@contextmanager
def command(log: Path, *arguments: str, **environment: str) -> Iterator[tuple[httpx.Client, Any]]:
    """A client of `vqazoo serve` in a process of its own, and the process; its log is a file."""
    allow_loopback()
    start = [sys.executable, "-c", "import sys; from vqazoo.cli import main; main(sys.argv[1:])"]
    with (
        open(log, "w") as errors,
        subprocess.Popen(
            [*start, "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **environment},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://[\d.]+:\d+", line)
            assert found, log.read_text()
            with httpx.Client(base_url=found[0], timeout=WAIT) as client:
                wait_for(client)
                yield client, process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)


def wait_for(client: httpx.Client) -> None:
    """Wait until the service answers."""
    retrying = threading.Event()
    for _ in range(int(WAIT / 0.05)):
        try:
            if client.get("/health").is_success:
                return
        except httpx.TransportError:
            retrying.wait(0.05)
    raise TimeoutError("the service did not start")


def scenes(count: int, seed: int = 0) -> list[bytes]:
    """Rendered pictures as PNG files."""
    rng = random.Random(seed)
    return [png(draw_scene(rng).paint()) for _ in range(count)]


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def metric(client: httpx.Client, name: str) -> float:
    """The value of a metric, with its labels in the name; 0 where it was not counted yet."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0
