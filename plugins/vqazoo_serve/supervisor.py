"""Several workers behind one socket: started, watched, started again, and ended together.

The supervisor itself answers nothing and imports no torch. Each worker (worker.py) is a process of
its own, with its own models and limits; all take connections from the one socket that the
supervisor keeps open, so that what no worker has taken outlives any of them. Unix only.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vqazoo.errors import ConfigError
from vqazoo_serve.listening import announce
from vqazoo_serve.logs import log_to_stderr
from vqazoo_serve.roster import Roster
from vqazoo_serve.settings import Settings

LOG = logging.getLogger("vqazoo_serve")
HANDLED = (signal.SIGTERM, signal.SIGINT)
INTERRUPTED = 130  # exit code
SHORT_LIFE = 10.0  # seconds; who dies sooner is started again after a pause
LONGEST_PAUSE = 30.0  # seconds
ALONE = 0.2  # seconds between looks whether the one that loads alone is ready
COUNTERS = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus_client keeps what it merges


@dataclass(frozen=True)
class Service:
    """What each worker serves, and its limits.

    Attributes:
        models: by their public names, references as `vqazoo.load` takes them.
    """

    models: Mapping[str, str]
    device: str
    settings: Settings


class Worker:
    """One process that serves, of the number that its log lines carry.

    Attributes:
        ready: whether it takes connections.
        failure: why it could not start, in its own words; empty: it did not say.
        loaded: digests of its models by public name, once it is ready.
    """

    def __init__(
        self,
        number: int,
        service: Service,
        listener: int,
        roster: Roster,
        loaded: Mapping[str, str],
    ) -> None:
        """`loaded`: the models that it has to have; empty: whatever their references lead to."""
        self.number = number
        self.loaded: dict[str, str] = {}
        self.ready = False
        self.failure = ""
        self.started = time.monotonic()
        own, theirs = os.pipe()
        self.status = os.fdopen(own, encoding="utf-8")
        paths = [path or os.getcwd() for path in sys.path]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vqazoo_serve.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(listener, theirs),
            process_group=0,  # Ctrl-C of a terminal comes to the supervisor, which passes it on
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
                COUNTERS: str(roster.folder),
            },
        )
        os.close(theirs)
        order = {
            "worker": number,
            "models": dict(service.models),
            "loaded": dict(loaded),
            "device": service.device,
            "settings": asdict(service.settings),
            "listener": listener,
            "status": theirs,
            "folder": str(roster.folder),
            "count": roster.count,
        }
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died, which is seen soon
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()  # and open: it ends when this process does

    @property
    def pid(self) -> int:
        return self.process.pid

    def listen(self) -> bool:
        """Take in one line that it says of itself; False: it has ended."""
        line = self.status.readline()
        if not line:
            return False
        said: dict[str, Any] = json.loads(line)
        self.ready = said.get("ready", self.ready)
        self.loaded = said.get("loaded", self.loaded)
        self.failure = said.get("failed", self.failure)
        return True

    def end(self, number: int) -> None:
        """Pass a signal on to it if it serves, else end it at once."""
        if self.process.poll() is None:
            self.process.send_signal(number if self.ready else signal.SIGKILL)

    def forget(self) -> int:
        """Its exit code, once it has ended; what this process kept of it is closed."""
        code = self.process.wait()
        self.status.close()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        return code


class Supervisor:
    """The workers of one service."""

    def __init__(self, service: Service, listener: socket.socket, roster: Roster) -> None:
        self._service = service
        self._listener = listener
        self._roster = roster
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, Worker] = {}
        self._due: dict[int, float] = {}  # when to start a worker again
        self._pauses: dict[int, float] = {}  # seconds before its next start
        self._loaded: dict[str, str] = {}  # the models of all workers; empty: the next one says
        self._serving = False
        self._ending = False
        self._codes: list[int] = []
        self._signals: list[int] = []
        self._wakes: socket.socket | None = None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, and return when the workers have answered what they took.

        Raises:
            ConfigError: a worker cannot start, in its own words.
            SystemExit: Ctrl-C came before the end (130), or a worker died meanwhile (1).
        """
        try:
            self._start(1)  # alone: it fetches, checks and fails for all
            while self._workers or self._due:
                self._wait()
            if INTERRUPTED in self._codes or -signal.SIGINT in self._codes:
                raise SystemExit(INTERRUPTED)
            if any(self._codes):
                raise SystemExit(1)
        finally:
            for worker in self._workers.values():
                worker.process.kill()
                worker.forget()
            self._selector.close()

    # ---- what happens -----------------------------------------------------------------------

    def _wait(self) -> None:
        now = time.monotonic()
        soonest = min(self._due.values(), default=now + 1.0)
        for key, _ in self._selector.select(max(0.0, min(1.0, soonest - now))):
            if isinstance(key.data, Worker):
                self._hear(key.data)
            else:
                key.fileobj.recv(64)  # type: ignore[union-attr]
        while self._signals:
            self._pass_on(self._signals.pop(0))
        for number, due in list(self._due.items()):
            if due > time.monotonic():
                continue
            if not self._workers:  # what was replaced since may be served now
                self._loaded = {}
            if self._workers and not self._loaded:  # one loads alone, and says what all have
                self._due[number] = time.monotonic() + ALONE
                continue
            del self._due[number]
            self._start(number)

    def _start(self, number: int) -> None:
        listener = self._listener.fileno()
        worker = Worker(number, self._service, listener, self._roster, self._loaded)
        self._workers[number] = worker
        self._selector.register(worker.status, selectors.EVENT_READ, worker)

    def _hear(self, worker: Worker) -> None:
        if not worker.listen():
            self._bury(worker)
        elif worker.ready and not self._ending:
            self._loaded = self._loaded or worker.loaded
            self._write()
            if self._serving:
                LOG.info("worker ready", extra={"fields": {"worker": worker.number}})
                return
            if not self._wakes:
                self._handle_signals()  # it takes connections from now on
            for number in range(1, self._roster.count + 1):
                if number not in self._workers and number not in self._due:
                    self._start(number)
            if not self._due and all(other.ready for other in self._workers.values()):
                self._serving = True
                listener, count = self._listener, self._roster.count
                announce(list(self._service.models), self._service.settings, listener, count)

    def _handle_signals(self) -> None:
        """From the first worker on that takes connections: what it took is answered."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        self._selector.register(ours, selectors.EVENT_READ)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._wakes = theirs
        for number in HANDLED:
            signal.signal(number, lambda number, _: self._signals.append(number))
        log_to_stderr()

    def _bury(self, worker: Worker) -> None:
        self._selector.unregister(worker.status)
        del self._workers[worker.number]
        code = worker.forget()
        self._write()
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid, str(self._roster.folder))
        if self._ending:
            if worker.ready:  # others were killed before they took anything
                self._codes.append(code)
            return
        if not worker.ready and not (self._serving and self._workers):
            raise ConfigError(worker.failure or _silent(worker, code))
        lived = time.monotonic() - worker.started
        pause = 0.0
        if not worker.ready or lived < SHORT_LIFE:
            pause = min(LONGEST_PAUSE, 2 * self._pauses.get(worker.number, 0.0) or 1.0)
        self._pauses[worker.number] = pause
        self._due[worker.number] = time.monotonic() + pause
        fields = {"worker": worker.number, "pid": worker.pid, "exit": code, "again_in": pause}
        said = f" ({worker.failure})" if worker.failure else ""
        LOG.error(
            f"A worker ended; another is started in its place.{said}", extra={"fields": fields}
        )

    def _pass_on(self, number: int) -> None:
        if not self._ending:
            self._ending = True
            self._due.clear()
            self._listener.close()  # with those of the workers, the last: who connects is refused
        for worker in self._workers.values():
            worker.end(number)

    def _write(self) -> None:
        self._roster.write([w.pid for w in self._workers.values() if w.ready])


def supervise(service: Service, listener: socket.socket, workers: int) -> None:
    """Serve with several workers; what `Supervisor.run` raises.

    Raises:
        ConfigError: the system shares no socket among processes.
    """
    check_can_share()
    folder = Path(tempfile.mkdtemp(prefix="vqazoo-serve-"))  # for this user alone
    try:
        Supervisor(service, listener, Roster(folder, workers)).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_can_share() -> None:
    """Raises ConfigError: this system shares no socket among processes."""
    if sys.platform == "win32":
        raise ConfigError(
            "--workers above 1 shares one socket among processes, which Windows does not: leave it "
            "out, or start several services on ports of their own behind a proxy."
        )


def _silent(worker: Worker, code: int) -> str:
    ended = f"signal {-code}" if code < 0 else f"exit code {code}"
    return (
        f"Worker {worker.number} ended ({ended}) before it served: what it wrote above says why; "
        f"where that is nothing, look for too little memory, and give fewer --workers."
    )
