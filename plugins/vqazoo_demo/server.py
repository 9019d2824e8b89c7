"""Serves the page, to whom it is meant for only. Imports Gradio and uvicorn."""

from __future__ import annotations

import ipaddress
import signal
import socket
from contextlib import suppress
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vqazoo.cli.output import say
from vqazoo.errors import ConfigError
from vqazoo_demo.doors import Doors
from vqazoo_demo.page import STYLE, theme

LARGEST = "50mb"  # an uploaded picture
# The browser itself refuses whatever the page might load from elsewhere. Gradio's scripts build
# templates with `eval`, and start workers from `blob:`.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; "
    "object-src 'none'; form-action 'self'"
)
SECONDS_TO_STOP = 1  # pages that are open hold a connection


def serve(blocks: gr.Blocks, host: str, port: int, folder: Path) -> None:
    """Serve a page until Ctrl-C or SIGTERM; prints its address once it can be reached.

    Gradio's own `launch` is not used: it looks for the internet, and can open share links.
    `folder` is where uploads go: visitors reach no other file.

    Raises:
        ConfigError: host and port cannot be listened on.
    """
    listening = listen(host, port)
    address = _address(listening)
    say(f"The demo runs at {address} ; Ctrl-C stops it.")
    if not _only_this_machine(listening):
        say("Everybody who can reach this address can use it: there is no password.")
    config = uvicorn.Config(
        application(blocks, listening, folder),
        log_level="critical",
        timeout_graceful_shutdown=SECONDS_TO_STOP,
        http="h11",  # neither another parser nor another loop because it happens to be installed
        loop="asyncio",
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
    say("The demo has stopped.")


def application(blocks: gr.Blocks, listening: socket.socket, folder: Path) -> ASGIApp:
    """The page as a web application, with headers that keep the browser from going elsewhere."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    events = {number: len(event.inputs) for number, event in blocks.fns.items()}
    app.add_middleware(Doors, folder=folder, events=events)
    if _only_this_machine(listening):
        # A page of a stranger cannot reach this one under a name of its own (DNS rebinding).
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])
    app.add_middleware(Policy)
    mounted: ASGIApp = gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=True,
        max_file_size=LARGEST,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=theme(),
        css=STYLE,
    )
    return mounted


class Policy:
    """Adds the content security policy to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        await self.app(scope, receive, add)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0: on any that is free.

    Raises:
        ConfigError: the address does not exist here, or the port is taken.
    """
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        raise ConfigError(
            f"The address {host}, port {port} cannot be listened on ({error}): choose another "
            f"--port (0: any that is free), or another --host."
        ) from error


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _only_this_machine(listening: socket.socket) -> bool:
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback
