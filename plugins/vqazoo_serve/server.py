"""The process: a socket, uvicorn, and an end that leaves no accepted request unanswered.

Imports uvicorn, fastapi and torch.
"""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Mapping

import uvicorn

from vqazoo.cli.output import say
from vqazoo.errors import ConfigError
from vqazoo.model import VQAModel
from vqazoo_serve.app import create_app
from vqazoo_serve.logs import log_to_stderr
from vqazoo_serve.settings import TOKEN_VARIABLE, Settings

LOG = logging.getLogger("vqazoo_serve")
AFTER_TIMEOUT = 5  # seconds beyond a request's own, when the service ends


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
    say(f"Serving {', '.join(models)} at http://{shown}:{port} (/docs shows how); Ctrl-C ends it.")
    LOG.info("serving", extra={"fields": {"models": list(models)}})
    if not settings.token and host not in ("127.0.0.1", "::1"):
        LOG.warning(f"Anybody who reaches this address may ask: set {TOKEN_VARIABLE}.")
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(models, settings), log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=int(settings.timeout) + AFTER_TIMEOUT,
        )
    )  # fmt: skip
    # uvicorn raises the signal once more when it is done; by then there is nothing to end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])
