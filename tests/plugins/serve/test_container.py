"""The container of docs/how-to/container.md, without Docker: what it starts, checks and writes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.docs.pages import blocks
from tests.plugins.serve.service import allow_loopback, scenes, wait_for

pytestmark = pytest.mark.proof

PAGE = "docs/how-to/container.md"
# The console script, which also writes down every file that it opens to write.
GUARDED = """
import os, sys
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def write_down(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            os.write(log, os.fsencode(arguments[0]) + b"\\n")
    elif event in ("os.mkdir", "os.rename", "os.symlink"):
        os.write(log, os.fsencode(arguments[0]) + b"\\n")
sys.addaudithook(write_down)
from vqazoo.cli import main
main(sys.argv[2:])
"""


def recipe() -> dict[str, list[str]]:
    """The lines of the Dockerfile by instruction."""
    (block,) = (one for one in blocks(PAGE, "text") if one.content.startswith("FROM"))
    said: dict[str, list[str]] = {}
    for line in block.content.splitlines():
        instruction, _, rest = line.partition(" ")
        said.setdefault(instruction, []).append(rest)
    return said


def test_the_recipe_is_short_and_not_root() -> None:
    said = recipe()
    assert sum(map(len, said.values())) <= 15
    assert said["USER"] == ["10001"]
    assert "--uid 10001 " in said["RUN"][-1]
    assert "--read-only --tmpfs /tmp" in "".join(one.content for one in blocks(PAGE, "text"))


def test_a_wheel_that_is_not_the_pinned_one_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "vqazoo-0.1.0-py3-none-any.whl").write_bytes(b"the wheel")
    (line,) = (one for one in blocks(PAGE, "sh")[0].content.splitlines() if "sha256sum" in one)
    check = next(one for one in recipe()["RUN"] if "sha256sum" in one)
    assert subprocess.run(["sh", "-c", line], cwd=tmp_path, check=False).returncode == 0
    assert subprocess.run(["sh", "-c", check], cwd=tmp_path, check=False).returncode == 0
    (tmp_path / "vqazoo-0.1.0-py3-none-any.whl").write_bytes(b"another")
    assert subprocess.run(["sh", "-c", check], cwd=tmp_path, check=False).returncode != 0


def test_what_the_recipe_starts_answers_is_healthy_and_writes_only_to_tmp(tmp_path: Path) -> None:
    said = recipe()
    allow_loopback()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
    own, log = tmp_path / "tmp", tmp_path / "log"
    own.mkdir()
    variables = dict(pair.split("=", 1) for line in said["ENV"] for pair in shlex.split(line))
    environment = {name: value.replace("/tmp", str(own)) for name, value in variables.items()}
    environment |= {"PATH": os.environ["PATH"], "TMPDIR": str(own), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    program, *arguments = [*json.loads(said["ENTRYPOINT"][0]), *json.loads(said["CMD"][0])]
    assert program == "vqazoo"
    arguments = [{"8000": port, "0.0.0.0": "127.0.0.1"}.get(one, one) for one in arguments]
    (health,) = (line.partition(" CMD ")[2] for line in said["HEALTHCHECK"])
    python, *checked = shlex.split(health.replace(":8000/", f":{port}/"))
    assert python == "python"

    def healthy() -> bool:
        done = subprocess.run([sys.executable, *checked], stderr=subprocess.DEVNULL, check=False)
        return done.returncode == 0

    assert not healthy()
    service = subprocess.Popen(
        [sys.executable, "-c", GUARDED, str(log), *arguments],
        cwd=own,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_for(client)
            assert healthy()
            (picture,) = scenes(1)
            files = {"image": ("a.png", picture)}
            reply = client.post("/answer", data={"question": "what color is it?"}, files=files)
            assert reply.is_success
            assert reply.json()["answers"][0]["text"]
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
    assert not healthy()
    written = {Path(line) for line in log.read_text().splitlines()} - {Path(os.devnull)}
    assert {path for path in written if path.is_absolute() and own not in path.parents} == set()
