"""A demo as a process of its own, and a headless Chromium that may only talk to it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

# The console script `vqazoo`, which also writes down every address that it connects to.
GUARDED = """
import sys
def write_down(event, arguments):
    if event == "socket.connect" and not isinstance(arguments[1], (str, bytes)):
        with open(sys.argv[1], "a") as log:
            print(arguments[1][0], file=log)
sys.addaudithook(write_down)
from vqazoo.cli import main
main(sys.argv[2:])
"""
WIDTHS = {"desktop": 1280, "phone": 375}
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SECONDS = 120  # a busy machine loads Gradio and torch slowly


@dataclass
class Demo:
    """A running demo: its address, what it printed, and where it puts things."""

    process: subprocess.Popen[str]
    url: str
    printed: str
    flagged: Path
    temporary: Path
    connected: Path

    def stop(self, how: signal.Signals) -> tuple[int, str]:
        """Exit code, and what it printed at the end."""
        self.process.send_signal(how)
        printed, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, printed


@pytest.fixture(scope="session")
def chromium() -> str:
    named = os.environ.get("VQAZOO_CHROMIUM")
    found = named or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None:
        pytest.skip("no Chromium: install one, or name it in VQAZOO_CHROMIUM")
    pytest.importorskip("playwright", reason="the browser is driven by playwright")
    return found


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Demo]:
    """Starts `vqazoo demo` on a free port and waits for its address."""

    def start(*arguments: str) -> Demo:
        folder = tmp_path_factory.mktemp("demo")
        (temporary := folder / "temporary").mkdir()
        flagged, connected = folder / "flagged.csv", folder / "connected.txt"
        # A share link is not opened even if Gradio's own setting asks for one.
        environment = os.environ | {
            "TMPDIR": str(temporary),
            "OMP_NUM_THREADS": "1",
            "GRADIO_SHARE": "True",
            "HF_HUB_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
            "MPLCONFIGDIR": str(folder),
        }
        options = ["--port", "0", "--flagged", str(flagged), *arguments]
        process = subprocess.Popen(
            [sys.executable, "-c", GUARDED, str(connected), "demo", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://" in line, line + process.communicate(timeout=SECONDS)[0]
        url = line.split(" at ")[1].split(" ;")[0]
        return Demo(process, url, line, flagged, temporary, connected)

    return start


@pytest.fixture(scope="module")
def demo(chromium: str, start: Callable[..., Demo]) -> Iterator[Demo]:
    """A demo of the packaged models."""
    running = start()
    yield running
    running.stop(signal.SIGTERM)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Chromium with a camera that shows a test picture."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu"]
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=chromium, args=[*arguments, *camera], timeout=SECONDS * 1000
        )
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Any, demo: Demo) -> Iterator[Callable[..., Any]]:
    """Opens the demo at a width; at the end, nothing but the demo was asked for anything."""
    contexts, asked, broken = [], set[str](), list[str]()

    def open_page(width: str = "desktop", **options: Any) -> Any:
        context = browser.new_context(
            viewport={"width": WIDTHS[width], "height": 900},
            permissions=["camera", "clipboard-read", "clipboard-write"],
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.on("request", lambda request: asked.add(request.url))
        page.on("websocket", lambda socket: asked.add(socket.url))
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto(demo.url)
        page.get_by_role("group", name="Models").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    own = urlsplit(demo.url).netloc
    others = {url for url in asked if urlsplit(url).netloc != own}
    assert not {url for url in others if urlsplit(url).scheme not in ("data", "blob")}
    assert not broken
