"""Processes of their own that do not import the libraries again: forks of one that has them.

`python(code, ...)` is `subprocess.Popen([sys.executable, "-c", code, ...])`, with text, but begins
in a tenth of a second, where torch alone takes two. It is for tests of what happens to a process
(it is killed, another takes its place, its memory is empty), not of how one starts. A stem
imports, and is forked for each process: a fork has its own memory, environment, files, and folder,
and ends as any process does; what a library reads from the environment when it is imported is what
the tests have. Where nothing can be forked safely, it is a process as all are.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

IMPORTS = """
from vqazoo.lean_imports import without_unused
with without_unused():
    import torch, torchvision, timm, open_clip, transformers, accelerate
import vqazoo.cli, vqazoo.training.loop, vqazoo.checkpoint.loading, vqazoo_tiny_clip.encoder
"""
STEM = """
import json, os, select, signal, socket, sys
exec(sys.argv[2])
assert len(os.listdir("/proc/self/task")) == 1, "a thread would not be in the fork"

def job():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        if sys.stdin in select.select([sys.stdin, listener], [], [])[0]:
            os._exit(0)  # who asked is gone
        asked, _ = listener.accept()
        if os.fork():
            asked.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        text, files, _, _ = socket.recv_fds(asked, 16, 3)
        length = int(text)
        with asked.makefile("rb") as lines:
            task = json.loads(lines.read(length))
        process = os.fork()
        if process:  # tells how it ends
            for file in files:
                os.close(file)
            sys.stdin.close()
            asked.sendall(f"{process}\\n".encode())
            asked.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])}\\n".encode())
            os._exit(0)
        asked.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.environ.clear()
        os.environ.update(task["environment"])
        os.chdir(task["folder"])
        sys.argv[:] = ["-c", *task["arguments"]]
        if os.environ.get("PYTHONUNBUFFERED"):
            sys.stdout.reconfigure(write_through=True)
        return task["code"]

exec(compile(job(), "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
"""


class Forked:
    """What `subprocess.Popen` is for a process that a stem forked."""

    def __init__(self, stem: Path, task: dict[str, Any], files: Mapping[str, Any]) -> None:
        self.args = task["arguments"]
        self.returncode: int | None = None
        own: dict[str, IO[str] | None] = {}
        theirs: list[int] = []
        for number, (name, mode) in enumerate((("stdin", "w"), ("stdout", "r"), ("stderr", "r"))):
            kept, given = _ends(files.get(name), mode, number)
            own[name] = kept
            theirs.append(given)
        self.stdin, self.stdout, self.stderr = own["stdin"], own["stdout"], own["stderr"]
        self._keeper = socket.socket(socket.AF_UNIX)
        self._keeper.connect(str(stem))
        document = json.dumps(task).encode()
        socket.send_fds(self._keeper, [f"{len(document):16}".encode()], theirs)
        self._keeper.sendall(document)
        for file in theirs:
            os.close(file)
        self._lines = self._keeper.makefile()
        self.pid = int(self._lines.readline())

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._keeper.settimeout(None)
            if not _readable(self._keeper, timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._lines.readline())
            self._lines.close()
            self._keeper.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        read: dict[str, str] = {"stdout": "", "stderr": ""}

        def whole(name: str, file: IO[str]) -> None:
            read[name] = file.read()

        streams = {name: file for name in read if (file := getattr(self, name))}
        readers = [threading.Thread(target=whole, args=one, daemon=True) for one in streams.items()]
        until = None if timeout is None else time.monotonic() + timeout
        if self.stdin:
            self.stdin.close()
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(None if until is None else max(0.0, until - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if until is None else max(0.1, until - time.monotonic()))
        for file in streams.values():
            file.close()
        return read["stdout"], read["stderr"]

    def send_signal(self, sent: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sent)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def __del__(self) -> None:
        for file in (self._lines, self._keeper):
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for file in (self.stdin, self.stdout, self.stderr):
            if file:
                file.close()
        self.wait()


Process = Forked | subprocess.Popen[str]


def python(
    code: str,
    *arguments: object,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    **files: Any,
) -> Process:
    """A process that runs code, with this environment and folder unless others are given.

    The files `stdin`, `stdout` and `stderr` are those of `subprocess.Popen`.
    """
    given = list(map(str, arguments))
    if sys.platform != "linux":
        command = [sys.executable, "-c", code, *given]
        return subprocess.Popen(command, env=env, cwd=cwd, text=True, **files)
    task = {
        "code": code,
        "arguments": given,
        "environment": dict(os.environ if env is None else env),
        "folder": str(cwd or Path.cwd()),
    }
    return Forked(_stem(), task, files)


def finished(
    code: str, *arguments: object, timeout: float = 300, **options: Any
) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` for such a process, with what it printed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with python(code, *arguments, **pipes, **options) as running:
        try:
            out, told = running.communicate(timeout=timeout)
        finally:
            running.kill()
    assert running.returncode is not None
    return subprocess.CompletedProcess(arguments, running.returncode, out, told)


@functools.cache
def _stem() -> Path:
    """The address of a process that has imported; it ends with this one."""
    address = Path(tempfile.mkdtemp(prefix="stem-")) / "socket"
    process = subprocess.Popen(
        [sys.executable, "-c", STEM, str(address), IMPORTS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # The latter is for early versions of pyarrow, which otherwise begin a thread.
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"},
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", "the stem cannot start; stderr says why"
    atexit.register(_end, process, address)
    return address


def _end(process: subprocess.Popen[str], address: Path) -> None:
    process.kill()
    process.wait()
    address.unlink(missing_ok=True)
    address.parent.rmdir()


def _ends(file: Any, mode: str, inherited: int) -> tuple[IO[str] | None, int]:
    """Our end of a pipe, if it is one, and theirs."""
    if file == subprocess.PIPE:
        reading, writing = os.pipe()
        ours, theirs = (writing, reading) if mode == "w" else (reading, writing)
        return open(ours, mode), theirs
    return None, os.dup(inherited if file is None else file.fileno())


def _readable(keeper: socket.socket, timeout: float | None) -> bool:
    return bool(select.select([keeper], [], [], timeout)[0])
