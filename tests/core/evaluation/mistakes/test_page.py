"""The page: whole without a server, safe with hostile texts, readable by everybody."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import pytest_socket

from tests.core.evaluation.mistakes.conftest import asked, grouped
from vqazoo.evaluation.mistakes import Mistakes, page, write_page
from vqazoo.interfaces import Answer


class Elements(HTMLParser):
    """Every start tag with its attributes, and all text outside of style."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_hostile_texts_stay_texts(mistakes: Mistakes) -> None:
    content = write_page(mistakes)
    elements = Elements(content)
    assert "script" not in {name for name, _ in elements.found}
    assert not [key for _, given in elements.found for key in given if key.startswith("on")]
    assert "\x00" not in content
    assert "\u202e" not in content, "a text that turns the direction of what follows"
    assert any("<script>alert(1)</script>" in text for text in elements.texts)


def test_nothing_is_named_that_could_be_fetched(mistakes: Mistakes) -> None:
    for name, given in Elements(write_page(mistakes)).found:
        for key in ("src", "href", "action", "data", "srcset"):
            value = given.get(key)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#")), (name, key)
    policy = [given for name, given in Elements(write_page(mistakes)).found if name == "meta"][1]
    assert (policy["content"] or "").startswith("default-src 'none'; img-src data:;")
    style = write_page(mistakes).partition("<style>")[2].partition("</style>")[0]
    assert "font:" in style
    assert "url(" not in style
    assert "@import" not in style


def test_pictures_have_names_and_stop_where_the_page_is_full(
    mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [given for name, given in Elements(write_page(mistakes)).found if name == "img"]
    assert pictures
    assert all(re.fullmatch(r"Picture \d+\.png", given["alt"] or "") for given in pictures)
    monkeypatch.setattr(page, "MOST_BYTES", 2000)
    small = write_page(mistakes)
    assert 0 < small.count("<img") < len(pictures)
    assert "left out: the page is full" in small
    assert len(small) < len(write_page(mistakes, pictures=False)) + 2 * 2000 * 4 / 3


def test_pictures_can_be_left_out_and_may_be_missing(mistakes: Mistakes) -> None:
    assert "<img" not in write_page(mistakes, pictures=False)
    gone = grouped(
        [asked(0, "is it?", "yes"), asked(1, "what is it?", "red")], [Answer("no", 0.5)] * 2
    )
    assert "no picture" in write_page(gone)


def test_a_note_about_the_licence_is_shown(mistakes: Mistakes) -> None:
    assert "keep it &lt;here&gt;" in write_page(mistakes, "keep it <here>")


def test_no_mistakes_make_a_page_too() -> None:
    right = grouped(
        [asked(0, "is it?", "yes"), asked(1, "what is it?", "red")],
        [Answer("yes", 0.5), Answer("red", 0.5)],
    )
    assert "0 of 2 answers" in write_page(right)


@pytest.fixture
def browser() -> Iterator[Any]:
    """A headless Chromium that reaches nothing but this process."""
    sync_api = pytest.importorskip("playwright.sync_api")
    known = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    program = os.environ.get("VQAZOO_CHROMIUM") or next((one for one in known if one), None)
    if program is None:
        pytest.skip("no Chromium: install one, or name it in VQAZOO_CHROMIUM")
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [1100, 360])
def test_a_browser_opens_it_from_a_file(
    mistakes: Mistakes, browser: Any, tmp_path: Path, width: int
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    file = tmp_path / "mistakes.html"
    file.write_text(write_page(mistakes), encoding="utf-8")
    shown = browser.new_page(viewport={"width": width, "height": 800})
    fetched: list[str] = []
    shown.on("request", lambda request: fetched.append(request.url))
    shown.on("dialog", lambda dialog: pytest.fail("a script ran"))
    shown.goto(file.as_uri())
    assert [url for url in fetched if not url.startswith("data:")] == [file.as_uri()]
    assert shown.evaluate("[...document.images].every(one => one.naturalWidth > 0)")
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = axe.Axe().run(shown).response["violations"]
    assert [(one["id"], one["impact"]) for one in found] == []
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.textContent") == "Type of question"
