"""The process: a socket, uvicorn, and an end that leaves no accepted request unanswered.

Imports uvicorn, fastapi and torch.
"""

from __future__ import annotations

import logging
import resource
import signal
import socket
from collections.abc import Mapping

import click
import uvicorn

from vqazoo.errors import ConfigError
from vqazoo.model import VQAModel
from vqazoo_serve.app import create_app
from vqazoo_serve.connections import connection_class
from vqazoo_serve.logs import log_to_stderr
from vqazoo_serve.metrics import Metrics
from vqazoo_serve.settings import TOKEN_VARIABLE, Settings

LOG = logging.getLogger("vqazoo_serve")
AFTER_TIMEOUT = 5  # seconds beyond a request's own, when the service ends
KEEP_ALIVE = 5  # seconds that a connection may rest between two requests
MOST_BACKLOG = 128  # connections that wait until they are taken
OTHER_FILES = 64  # that a service has open
TOO_FEW = 32


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address; nobody can connect until the service listens.

    Raises:
        ConfigError: the address cannot be had.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"The address {host}:{port} cannot be served ({reason}): choose another with --host "
            f"and --port."
        ) from error
    return listener


def run(models: Mapping[str, VQAModel], settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; then answer what was taken, and return."""
    log_to_stderr()
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    click.echo(
        f"Serving {', '.join(models)} at http://{shown}:{port} (/docs shows how); Ctrl-C ends it."
    )
    LOG.info("serving", extra={"fields": {"models": list(models)}})
    if not settings.token and host not in ("127.0.0.1", "::1"):
        LOG.warning(f"Anybody who reaches this address may ask: set {TOKEN_VARIABLE}.")
    server = server_for(models, settings)
    # uvicorn raises the signal once more when it is done; by then there is nothing to end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])


def server_for(models: Mapping[str, VQAModel], settings: Settings) -> uvicorn.Server:
    """The server of a service: bounded in connections and in the time of each.

    Raises:
        ConfigError: the system allows this process too few open files.
    """
    metrics = Metrics()
    most, backlog = _allowed(settings.connections)
    config = uvicorn.Config(
        create_app(models, settings, metrics), log_config=None, access_log=False,
        server_header=False, ws="none", loop="asyncio", backlog=backlog,
        http=connection_class(settings.timeout, KEEP_ALIVE, most, metrics),
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(settings.timeout) + AFTER_TIMEOUT,
    )  # fmt: skip
    return uvicorn.Server(config)


def _allowed(wanted: int) -> tuple[int, int]:
    """Connections at once, and those that are taken in one go, within the limit of open files.

    A go, the next and the one after it may be there before the first is looked at.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + 4 * MOST_BACKLOG + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted, MOST_BACKLOG
    backlog = min(MOST_BACKLOG, soft // 16)
    most = soft - 4 * backlog - OTHER_FILES
    if most < TOO_FEW:
        raise ConfigError(
            f"The system allows this process {soft} open files, too few to serve: raise it with "
            f"'ulimit -n {needed}'."
        )
    LOG.warning(f"The system allows {soft} open files: {most} connections at once, not {wanted}.")
    return most, backlog
