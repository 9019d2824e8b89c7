"""The service's page in a real browser: by keyboard, by ear, in light and dark, wide and narrow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

import vqazoo
from tests.plugins.demo.conftest import chromium  # noqa: F401
from tests.plugins.serve.conftest import GATED
from tests.plugins.serve.service import serving
from vqazoo.model import VQAModel
from vqazoo.wording import spoken

pytestmark = pytest.mark.proof

JUDGE = "tiny-clip-quality-flawedshapes"


@pytest.fixture(scope="module")
def address(models: dict[str, VQAModel]) -> Iterator[str]:
    served = {GATED: models[GATED], JUDGE: vqazoo.load(JUDGE)}
    with serving(served, quality=JUDGE) as client:
        yield str(client.base_url)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:  # noqa: F811
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def circle(tmp_path: Path) -> Path:
    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).ellipse((16, 16, 48, 48), fill="red")
    picture.save(tmp_path / "circle.png")
    return tmp_path / "circle.png"


def check_accessible(page: Any) -> None:
    """No finding of axe is serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    told = Axe().run(page).response["violations"]
    grave = [each for each in told if each["impact"] in ("serious", "critical")]
    assert not grave, [(each["id"], [node["html"] for node in each["nodes"]]) for each in grave]


def focused(page: Any) -> str:
    return str(
        page.evaluate(
            "() => { const now = document.activeElement; return "
            "((now.labels && now.labels[0] || now).innerText || '').trim() }"
        )
    )


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 375)])
def test_the_page_is_asked_and_asked_again_by_keyboard_and_says_what_it_answers(
    browser: Any, address: str, models: dict[str, VQAModel], circle: Path, scheme: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.on("filechooser", lambda _: None)  # so that the browser knows of us before the first key
    page.goto(address)
    check_accessible(page)
    order: list[str] = []
    while not order or order[-1] != "Image":
        page.keyboard.press("Tab")
        order.append(focused(page))
        assert len(order) < 6, order
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(circle)
    page.keyboard.press("Tab")
    assert focused(page) == "Question"
    outline = page.locator(":focus").evaluate("box => getComputedStyle(box).outlineStyle")
    assert outline == "solid"
    page.keyboard.type("what color is the circle?")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Answer").wait_for()
    said = page.get_by_role("status").inner_text()
    model, picture = models[GATED], Image.open(circle)
    assert said == spoken(model.answer(picture, "what color is the circle?"))
    assert "red" in said
    assert page.title().startswith(said), "what a screen reader says first of a new page"
    check_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert focused(page) == "Question", "the next question can be typed at once"
    page.keyboard.type("what is the red shape?")
    page.keyboard.press("Enter")
    page.get_by_text("“what is the red shape?”").wait_for()
    again = spoken(model.answer(picture, "what is the red shape?"))
    assert page.get_by_role("status").inner_text() == again
    page.keyboard.press("Tab")
    assert focused(page) == "Ask"
    page.keyboard.press("Tab")
    assert focused(page) == "Ask about another image"
    if folder := os.environ.get("VQAZOO_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"serve-{scheme}-{width}.png", full_page=True)
    page.close()
