"""The built pages in a headless Chromium: readable by everybody, at desktop and phone width."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("VQAZOO_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]


@pytest.fixture(scope="module", name="browser")
def headless_browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


PLACES = ("index", "learn/tour", "about/security", "reference/api-data")
NARROW = ("about/results", "reference/settings")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PLACES)
def test_a_page_is_readable_by_everybody_and_no_wider_than_the_screen(
    browser: Any, site: Path, name: str, width: int
) -> None:
    assert_readable(browser, site / f"{name}.html", width, "light")


@pytest.mark.parametrize("name", NARROW)
def test_a_page_is_readable_in_the_dark_on_a_narrow_phone(
    browser: Any, site: Path, name: str
) -> None:
    assert_readable(browser, site / f"{name}.html", 375, "dark")


def assert_readable(browser: Any, file: Path, width: int, scheme: str) -> None:
    """Nothing that axe calls serious, no scrolling sideways, nothing from the network."""
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(file.as_uri())
    found = axe.Axe().run(page).response["violations"]
    serious = [one["id"] for one in found if one["impact"] in ("serious", "critical")]
    assert not serious
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert all(url.startswith(("file:", "data:")) for url in fetched)
    page.close()
