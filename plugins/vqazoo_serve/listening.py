"""The address of a service, and what is said once it can be reached. Imports no torch."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence

from vqazoo.cli.output import say
from vqazoo.errors import ConfigError
from vqazoo_serve.settings import TOKEN_VARIABLE, Settings

LOG = logging.getLogger("vqazoo_serve")


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


def announce(
    models: Sequence[str], settings: Settings, listener: socket.socket, workers: int = 1
) -> None:
    """Say on stdout and in the log what is served, and where."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    by = f" by {workers} workers" if workers > 1 else ""
    say(
        f"Serving {', '.join(models)} at http://{shown}:{port}{by} (/docs shows how); "
        f"Ctrl-C ends it."
    )
    LOG.info("serving", extra={"fields": {"models": list(models)}})
    if not settings.token and host not in ("127.0.0.1", "::1"):
        LOG.warning(f"Anybody who reaches this address may ask: set {TOKEN_VARIABLE}.")
