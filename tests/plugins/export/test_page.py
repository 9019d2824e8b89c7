"""The exported page in a real browser: it answers as Python does, and sends nothing."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_socket
from PIL import Image

from tests.plugins.export.conftest import chromium, runtime_folder
from vqazoo.interfaces import Preprocess
from vqazoo.media.images import open_image
from vqazoo.media.pixels import pixels

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium is installed (VQAZOO_CHROMIUM)"),
    pytest.mark.skipif(
        runtime_folder() is None,
        reason="VQAZOO_ORT_WEB names no folder with onnxruntime-web (npm pack onnxruntime-web)",
    ),
]
SCRIPTS = {".js": "text/javascript", ".mjs": "text/javascript"}  # some systems know no .mjs
PHONE = {"width": 390, "height": 844}
PATIENCE = 120_000  # milliseconds; a loaded machine starts a browser slowly


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | SCRIPTS

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(exported_lstm: Path) -> Iterator[str]:
    """The exported folder behind a plain file server on loopback."""
    pytest_socket.enable_socket()
    handler = functools.partial(Quiet, directory=str(exported_lstm))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest_socket.enable_socket()
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"], timeout=PATIENCE
        )
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, once its model is loaded; `requests` are all that it made."""
    pytest_socket.enable_socket()
    context = browser.new_context(viewport=PHONE)
    one = context.new_page()
    one.set_default_timeout(PATIENCE)
    one.requests = []
    one.on("request", lambda request: one.requests.append((request.method, request.url)))
    one.goto(address)
    sync_api.expect(one.get_by_role("status")).to_have_text("The model is ready.", timeout=PATIENCE)
    yield one
    context.close()


@pytest.mark.proof
def test_the_page_answers_as_python_and_sends_nothing(page, address, lstm, easy_questions):
    asked = easy_questions[::12]
    for example in asked:
        page.get_by_label("Picture", exact=True).set_input_files(str(example.image))
        sync_api.expect(page.get_by_role("status")).to_have_text("The picture is ready.")
        page.get_by_label("Question", exact=True).fill(example.question)
        page.get_by_role("button", name="Ask").press("Enter")
        sync_api.expect(page.get_by_role("status")).to_have_text("Answered.", timeout=PATIENCE)
        expected = lstm.answer(example.image, example.question)
        assert page.locator("#answer").inner_text() == f"{expected.text} ({expected.score:.1%})"
    methods = {method for method, _ in page.requests}
    elsewhere = [url for _, url in page.requests if not url.startswith((address, "blob:", "data:"))]
    assert methods == {"GET"}
    assert elsewhere == []


def test_the_page_is_used_by_keyboard_alone(page, easy_questions):
    page.get_by_label("Picture", exact=True).set_input_files(str(easy_questions[0].image))
    order = []
    page.get_by_label("Picture", exact=True).focus()
    for _ in range(3):
        order.append(page.evaluate("document.activeElement.id"))
        page.keyboard.press("Tab")
    assert order == ["picture", "question", "ask"]
    page.get_by_label("Question", exact=True).focus()
    page.keyboard.type("what shape is in the image?")
    page.keyboard.press("Enter")
    sync_api.expect(page.get_by_role("status")).to_have_text("Answered.", timeout=PATIENCE)


def test_nothing_sticks_out_of_a_phones_screen(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_axe_finds_nothing_serious(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_a_file_that_is_no_picture_is_said_so(page, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    page.get_by_label("Picture", exact=True).set_input_files(str(tmp_path / "notes.png"))
    sync_api.expect(page.get_by_role("status")).to_contain_text("no picture that the browser")


@pytest.mark.parametrize(
    ("size", "how"),
    [
        ((100, 75), Preprocess((64, 64), (0.5,) * 3, (0.2,) * 3, "bicubic", "squash")),
        ((301, 200), Preprocess((64, 64), (0.5,) * 3, (0.2,) * 3, "bilinear", "crop", 73)),
        ((123, 45), Preprocess((64, 48), (0.5,) * 3, (0.2,) * 3, "bicubic", "pad", fill=7)),
    ],
)
def test_pictures_are_resized_as_by_pillow(page, size, how, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "picture.png")
    page.get_by_label("Picture", exact=True).set_input_files(str(tmp_path / "picture.png"))
    found = page.evaluate(
        """async (how) => {
            const { read, pixels } = await import("./pixels.js");
            const [file] = document.getElementById("picture").files;
            return Array.from(pixels(await read(file), how));
        }""",
        json.loads(json.dumps(how.to_json())),
    )
    expected = pixels(open_image(tmp_path / "picture.png"), how).numpy()
    assert np.array_equal(np.array(found, np.float32).reshape(expected.shape), expected)
