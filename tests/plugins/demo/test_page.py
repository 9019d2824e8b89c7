"""The page in a real browser: a person uploads a picture, asks, and reads the answer."""

from __future__ import annotations

import csv
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.demo.conftest import LOOPBACK, SECONDS, Demo
from vqazoo_demo.examples import EXAMPLES

pytestmark = pytest.mark.proof

OpenPage = Callable[..., Any]
DONT_KNOW = "I don't know"
SURELY = "(probably )?{}; the model is (fairly )?sure[.]"  # calibration decides
LSTM, GATED = "tiny-clip-lstm-easyvqa", "tiny-clip-linear-flawedshapes"


@pytest.fixture
def teal_circle(tmp_path: Path) -> Path:
    """A PNG of the first example."""
    file = tmp_path / "photo.png"
    EXAMPLES[0].paint().save(file)
    return file


def upload(page: Any, file: Path) -> None:
    page.locator("#picture input[type=file]").set_input_files(file)
    page.get_by_alt_text("The picture that you ask about").wait_for()


def ask(page: Any, question: str) -> None:
    page.get_by_label("Question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()


def status(page: Any, text: str) -> str:
    """What a screen reader announces, once it has a text."""
    from playwright.sync_api import expect

    line = page.locator("#status").get_by_role("status")
    expect(line).to_contain_text(text, timeout=SECONDS * 1000)
    return str(line.inner_text())


def check_accessible(page: Any) -> None:
    """No finding of axe is serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    grave = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not grave, [(one["id"], [node["html"] for node in one["nodes"]]) for one in grave]


@pytest.mark.parametrize("width", ["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_person_uploads_a_picture_asks_and_reads_the_answer(
    open_page: OpenPage, teal_circle: Path, width: str, scheme: str
) -> None:
    page = open_page(width, color_scheme=scheme)
    check_accessible(page)
    upload(page, teal_circle)
    ask(page, "what color is the circle?")
    said = status(page, "says")
    assert re.fullmatch(f"{LSTM} says: The answer is {SURELY.format('teal')}", said)
    reply = page.get_by_role("region", name=LSTM)
    assert reply.locator(".best").inner_text() == "teal"
    assert re.fullmatch(
        r"It is (fairly )?sure \((over )?\d+%\)", reply.locator(".sure").inner_text()
    )
    assert reply.get_by_role("listitem").count() == 5
    check_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_bars_stand_in_one_line_and_are_as_long_as_the_model_is_sure(
    open_page: OpenPage, teal_circle: Path
) -> None:
    page = open_page()
    upload(page, teal_circle)
    ask(page, "what color is it?")
    status(page, "says")
    bars = page.locator(".bars .bar").evaluate_all(
        "all => all.map(bar => [bar.getBoundingClientRect(), bar.firstElementChild]"
        ".map((box, i) => i ? box.getBoundingClientRect().width : box))"
        ".map(([box, width]) => [box.left, box.width, width])"
    )
    assert len({(left, width) for left, width, _ in bars}) == 1
    lengths = [length / width for _, width, length in bars]
    assert lengths == sorted(lengths, reverse=True)
    assert 0 < sum(lengths) <= 1.01


def test_the_page_shows_where_the_model_looked_unless_it_should_not(open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_role("button", name="A red triangle: what shape is in the image?").click()
    status(page, "triangle; the model")
    heat = page.locator(".reply figure img")
    assert re.search("heat map over it, strongest .*", heat.get_attribute("alt"))
    assert heat.evaluate("image => image.complete && image.naturalWidth > 0")
    assert page.locator("figcaption").inner_text().startswith("It looked most ")
    page.get_by_label("Show where each model looked").uncheck()
    ask(page, "is there a red shape?")
    status(page, "yes; the model")
    assert page.locator(".reply figure").count() == 0


def test_several_models_answer_side_by_side_and_one_says_that_the_photo_shows_too_little(
    open_page: OpenPage,
) -> None:
    page = open_page()
    page.get_by_label(GATED).check()
    page.get_by_role("button", name="where is the star?").click()
    said = status(page, DONT_KNOW)
    because = "the picture does not show what you ask about"
    assert re.fullmatch(f"{LSTM} says: .*[.] {GATED} says: {DONT_KNOW}: {because}[.]", said)
    assert page.get_by_role("region", name=GATED).locator(".best").inner_text() == DONT_KNOW
    one, other = (page.get_by_role("region", name=name).bounding_box() for name in (LSTM, GATED))
    assert one["y"] == other["y"]
    assert one["x"] + one["width"] <= other["x"]
    page.get_by_role("button", name="blue circle: what color is the triangle?").click()
    status(page, "red; the model")
    sure = page.get_by_role("region", name=GATED).locator(".sure").inner_text()
    assert sure.endswith("sure that the photo shows enough to answer")


def test_everything_can_be_done_by_keyboard(open_page: OpenPage, teal_circle: Path) -> None:
    from playwright.sync_api import expect

    page = open_page()
    page.on("filechooser", lambda _: None)  # so that the browser knows of us before the first key
    page.wait_for_timeout(200)
    page.keyboard.press("Tab")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(teal_circle)
    page.get_by_alt_text("The picture that you ask about").wait_for()
    focused = tab_to(page, "Question")
    assert focused[-4:] == [
        "Upload file",
        "Capture from camera",
        "Paste from clipboard",
        "Question",
    ]
    page.keyboard.type("what color is the circle?")
    assert page.locator(":focus").evaluate("box => getComputedStyle(box).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    chosen = page.locator(":focus")  # the first model
    page.keyboard.press("Space")
    expect(chosen).not_to_be_checked()
    page.keyboard.press("Space")
    expect(chosen).to_be_checked()
    tab_to(page, "Ask")
    page.keyboard.press("Enter")
    status(page, "teal; the model")
    assert name_of_focus(page) == "Ask", "the focus stays where it was"
    tab_to(page, "The right answer, to be saved in flagged.csv")
    page.keyboard.type("green")
    page.keyboard.press("Enter")
    page.get_by_role("status").filter(has_text="Saved: flagged.csv").wait_for()
    tab_to(page, "A teal circle: what color is the circle?")


def tab_to(page: Any, name: str) -> list[str]:
    """Press Tab until something of that name has the focus; the names on the way."""
    names: list[str] = []
    while not names or names[-1] != name:
        page.keyboard.press("Tab")
        names.append(name_of_focus(page))
        assert len(names) < 40, names
    return names


def name_of_focus(page: Any) -> str:
    return str(
        page.evaluate(
            "() => { const one = document.activeElement; return (one.ariaLabel || "
            "(one.labels && one.labels[0] || one).innerText || '').trim() }"
        )
    )


def test_a_wrong_answer_is_flagged_with_its_picture(
    open_page: OpenPage, demo: Demo, teal_circle: Path
) -> None:
    from PIL import Image

    demo.flagged.unlink(missing_ok=True)
    page = open_page()
    upload(page, teal_circle)
    ask(page, 'what "thing" is this, or that?')
    status(page, "says")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("status").filter(has_text="The right answer is empty").wait_for()
    page.get_by_label("The right answer").fill("a circle")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("status").filter(has_text="Saved: flagged.csv has 1 row now.").wait_for()
    check_accessible(page)
    (row,) = csv.DictReader(demo.flagged.read_text().splitlines())
    given = page.locator(".bars .text").first.inner_text()
    assert row["question"] == 'what "thing" is this, or that?'
    assert (row["answer"], row["given"]) == ("a circle", f"{given} ({LSTM})")
    with Image.open(demo.flagged.parent / row["image"]) as kept, Image.open(teal_circle) as own:
        assert kept.tobytes() == own.tobytes()


def test_mistakes_are_told_in_plain_sentences(open_page: OpenPage, tmp_path: Path) -> None:
    (broken := tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    (notes := tmp_path / "notes.txt").write_text("no picture")
    page = open_page()
    ask(page, "what is this?")
    assert status(page, "There is no picture") == problem(page)
    page.locator("#picture input[type=file]").set_input_files(notes)
    page.get_by_role("status").filter(has_text="This file is no picture").wait_for()
    check_accessible(page)
    page.locator("#picture input[type=file]").set_input_files(broken)
    page.get_by_role("button", name="Remove Image").wait_for()
    ask(page, "what is this?")
    assert status(page, "The image 'broken.png' is not a picture in a format") == problem(page)
    page.get_by_role("button", name="A teal circle").click()
    status(page, "teal; the model")
    ask(page, "  ")
    assert status(page, "The question is empty: write a question in words.") == problem(page)
    page.get_by_label(LSTM).uncheck()
    ask(page, "what is this?")
    assert status(page, "No model is chosen: choose at least one.") == problem(page)
    assert not page.get_by_role("button", name="Save").is_visible(), "nothing was answered"
    check_accessible(page)


def problem(page: Any) -> str:
    return str(page.locator("#answers .problem").inner_text())


def test_a_second_question_follows_up_on_the_first_until_there_is_another_picture(
    open_page: OpenPage, teal_circle: Path, tmp_path: Path
) -> None:
    page = open_page()
    upload(page, teal_circle)
    ask(page, "what color is the circle?")
    status(page, "teal; the model")
    assert page.get_by_role("region", name="Asked before about this picture").count() == 0
    ask(page, "what shape is in the image?")
    status(page, "circle; the model")
    earlier = page.get_by_role("region", name="Asked before about this picture")
    (said,) = earlier.get_by_role("listitem").all_inner_texts()
    asked = re.escape("“what color is the circle?”")
    assert re.fullmatch(f"{asked} {LSTM} says: The answer is {SURELY.format('teal')}", said)
    check_accessible(page)
    page.get_by_role("button", name="A red triangle: what shape is in the image?").click()
    status(page, "triangle; the model")
    assert earlier.count() == 0


def test_a_picture_that_is_too_dark_is_to_be_taken_again(open_page: OpenPage) -> None:
    page = open_page("phone", color_scheme="dark")
    page.get_by_label(LSTM).uncheck()
    page.get_by_label(GATED).check()
    page.get_by_role("button", name="far too dark").click()
    said = status(page, "says")
    assert said == f"{GATED} says: The picture is too dark. Turn on a light, and take it again."
    assert page.locator(".reply .best").inner_text() == DONT_KNOW
    assert page.locator(".reply .advice").inner_text() == said.partition(": ")[2]
    check_accessible(page)


def test_a_photograph_of_the_camera_can_be_asked_about(open_page: OpenPage) -> None:
    page = open_page("phone")
    page.get_by_role("button", name="Capture from camera").click()
    page.get_by_role("button", name="Click to Access Webcam").click()
    page.wait_for_function(  # a photograph of a camera that shows nothing yet is none
        "() => [...document.querySelectorAll('video')].some(one => one.readyState > 2)"
    )
    page.get_by_role("button", name="capture photo").click()
    page.get_by_role("button", name="Remove Image").wait_for()
    check_accessible(page)
    ask(page, "what is this?")
    status(page, f"{LSTM} says")
    assert page.get_by_alt_text("The picture asked about.").is_visible()


def test_a_picture_can_be_pasted(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate(
        """async () => {
          const canvas = Object.assign(document.createElement('canvas'), {width: 64, height: 64});
          const pen = canvas.getContext('2d');
          pen.fillStyle = 'white'; pen.fillRect(0, 0, 64, 64);
          pen.fillStyle = 'red'; pen.fillRect(10, 15, 40, 25);
          const png = await new Promise(done => canvas.toBlob(done));
          await navigator.clipboard.write([new ClipboardItem({'image/png': png})]);
        }"""
    )
    page.get_by_role("button", name="Paste from clipboard").click()
    page.get_by_alt_text("The picture that you ask about").wait_for()
    ask(page, "what color is the rectangle?")
    status(page, "red; the model")


def test_a_question_is_text_whatever_it_holds(open_page: OpenPage, teal_circle: Path) -> None:
    page = open_page()
    upload(page, teal_circle)
    question = "<img src=x onerror=\"document.title='broken in'\"> ${document.title}?"
    ask(page, question)
    status(page, "says")
    assert page.locator(".asked").inner_text() == f"“{question}”"
    assert page.title() == "Ask about a picture"


def test_examples_suit_the_chosen_models(open_page: OpenPage) -> None:
    page = open_page()
    shown = page.locator("#examples button:visible")
    assert shown.count() == 3
    page.get_by_label(LSTM).uncheck()
    page.get_by_label("tiny-clip-mlp-sortofclevr").check()
    page.get_by_role("button", name="closest to the red object").wait_for()
    page.get_by_role("button", name="A teal circle").wait_for(state="hidden")
    assert shown.count() == 2
    page.get_by_role("button", name="closest to the red object").click()
    status(page, "square")
    heading = page.get_by_role("heading", name="Examples")
    assert heading.is_visible()
    page.get_by_role("checkbox", name="tiny-clip-mlp-sortofclevr").uncheck()
    heading.wait_for(state="hidden")
    assert shown.count() == 0, "no example, no heading"


def test_named_models_come_first_and_ctrl_c_stops_the_demo_and_leaves_nothing(
    chromium: str, start: Callable[..., Demo], browser: Any
) -> None:
    running = start(GATED, "--top-k", "2")
    page = browser.new_page()
    page.goto(running.url)
    assert page.get_by_role("group", name="Models").get_by_role("checkbox").first.is_checked()
    assert page.get_by_role("checkbox", name="tiny-clip", checked=True).count() == 1
    page.get_by_role("button", name="too dark").click()
    page.locator(".best").filter(has_text=DONT_KNOW).wait_for()
    assert page.locator(".bars li").count() == 2
    assert list(running.temporary.iterdir()), "what is uploaded is kept while the demo runs"
    code, printed = running.stop(signal.SIGINT)
    page.close()
    assert (code, printed) == (0, "The demo has stopped.\n")
    assert not list(running.temporary.iterdir())
    assert running.printed == f"The demo runs at {running.url} ; Ctrl-C stops it.\n"
    assert running.url.startswith("http://127.0.0.1:")
    connected = running.connected.read_text().split() if running.connected.exists() else []
    assert set(connected) <= set(LOOPBACK)


def test_one_asks_by_click_and_one_by_enter_and_each_gets_the_own_answer(
    open_page: OpenPage, teal_circle: Path, tmp_path: Path
) -> None:
    """Gradio runs the two events side by side, on one model."""
    other = tmp_path / "other.png"
    EXAMPLES[1].paint().save(other)
    one, two = open_page(), open_page()
    upload(one, teal_circle)
    upload(two, other)
    wanted = re.escape(EXAMPLES[1].answer)
    for _ in range(4):
        one.get_by_label("Question").fill("what color is the circle?")
        two.get_by_label("Question").fill(EXAMPLES[1].question)
        one.get_by_role("button", name="Ask", exact=True).click()
        two.get_by_label("Question").press("Enter")
        assert re.fullmatch(f".*{SURELY.format('teal')}", status(one, "says"))
        assert re.fullmatch(f".*{SURELY.format(wanted)}", status(two, "says"))
