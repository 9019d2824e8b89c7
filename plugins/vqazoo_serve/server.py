"""The process: a socket, uvicorn, and an end that leaves no accepted request unanswered.

Imports uvicorn, fastapi and torch.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from types import FrameType

import uvicorn

from vqazoo.errors import ConfigError
from vqazoo.model import VQAModel
from vqazoo_serve.app import create_app
from vqazoo_serve.connections import connection_class
from vqazoo_serve.heap import keep_freed_memory
from vqazoo_serve.intake import Intake
from vqazoo_serve.listening import announce, bind
from vqazoo_serve.logs import log_to_stderr
from vqazoo_serve.metrics import Metrics
from vqazoo_serve.roster import Roster
from vqazoo_serve.settings import Settings

__all__ = ["Server", "bind", "run", "serve_on", "server_for"]

LOG = logging.getLogger("vqazoo_serve")
AFTER_TIMEOUT = 10  # seconds beyond a request's own, when the service ends
REFUSED_SECONDS = 1.0  # for refusals to go out, when the service ends at once
HANDLED = (signal.SIGTERM, signal.SIGINT)
INTERRUPTED = 130  # exit code
KEEP_ALIVE = 5  # seconds that a connection may rest between two requests
MOST_WAITING = 4096  # connections that the system keeps until they are taken; others try again
# Of them, those that are taken in one go: few, so that one is read before it can be cut for others.
MOST_BACKLOG = 16
OTHER_FILES = 64  # that a service has open
TOO_FEW = 32


class Server(uvicorn.Server):
    """Ends at a signal when all is answered; at Ctrl-C after it what is not answered is refused."""

    def __init__(self, config: uvicorn.Config, intake: Intake) -> None:
        super().__init__(config)
        self._intake = intake
        self.gave_up = False
        self.on_ready: Callable[[], None] = lambda: None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        first, self.should_exit = not self.should_exit, True  # may itself be interrupted
        if first or sig != signal.SIGINT:  # who manages services may send SIGTERM twice
            return
        signal.signal(sig, signal.SIG_DFL)  # a third one ends the process
        self._loop.call_soon_threadsafe(self._give_up)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():  # asyncio takes as many in one go as it lets wait: too few
            listener.listen(MOST_WAITING)
        self.on_ready()

    def _give_up(self) -> None:
        self.gave_up = True
        given_up = self._intake.end()
        LOG.warning("Ended before all was answered.", extra={"fields": {"requests": given_up}})
        self._loop.call_later(REFUSED_SECONDS, self._cut)

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def run(models: Mapping[str, VQAModel], settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; then answer what was taken, and return.

    Raises:
        ConfigError: see `server_for`.
        SystemExit: Ctrl-C came before the end, and what was not answered has been refused.
    """
    server = server_for(models, settings)  # first: it refuses models that no request can ask
    log_to_stderr()
    announce(list(models), settings, listener)
    serve_on(server, listener)


def serve_on(server: Server, listener: socket.socket) -> None:
    """As `run`, without saying so."""
    keep_freed_memory()
    # After the server's own handling of signals: by then there is nothing to end.
    for number in HANDLED:
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])
    if server.gave_up:
        raise SystemExit(INTERRUPTED)


def server_for(
    models: Mapping[str, VQAModel],
    settings: Settings,
    metrics: Metrics | None = None,
    roster: Roster | None = None,
    most_backlog: int = MOST_BACKLOG,
) -> Server:
    """The server of a service: bounded in connections and in the time of each.

    Args:
        metrics: default: of this process alone.
        roster: the workers of the service, where this process is one of several.
        most_backlog: connections taken in one go.

    Raises:
        ConfigError: a model that no request can ask, or too few open files for this process.
    """
    metrics = metrics or Metrics()
    most, backlog = _allowed(settings.connections, most_backlog)
    intake = Intake(settings, metrics)
    config = uvicorn.Config(
        create_app(models, settings, intake, roster),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        loop="asyncio",
        backlog=backlog,
        http=connection_class(settings.timeout, KEEP_ALIVE, most, metrics),
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(settings.timeout) + AFTER_TIMEOUT,
    )
    return Server(config, intake)


def _allowed(wanted: int, most_backlog: int) -> tuple[int, int]:
    """Connections at once, and those that are taken in one go, within the limit of open files.

    A go, the next and the one after it may be there before the first is looked at.
    """
    if sys.platform == "win32":
        return wanted, most_backlog
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + 4 * MOST_BACKLOG + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted, most_backlog
    backlog = min(most_backlog, soft // 16)
    most = soft - 4 * backlog - OTHER_FILES
    if most < TOO_FEW:
        raise ConfigError(
            f"The system allows this process {soft} open files, too few to serve: raise it with "
            f"'ulimit -n {needed}'."
        )
    LOG.warning(f"The system allows {soft} open files: {most} connections at once, not {wanted}.")
    return most, backlog
