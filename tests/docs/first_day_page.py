"""Writes docs/learn/first-day.md from a real run.

Run:  VQAZOO_TEST_DATA=FOLDER python -m tests.docs.first_day_page
where FOLDER holds `daquar` as docs/about/daquar.md says. It begins with a clone in an environment
of its own, so it needs a network, 7 GB, a quarter of an hour, and chromium.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from tests.docs.first_day import (
    INSTALL,
    PICTURE,
    TEST_PICTURES,
    TRAIN_PICTURES,
    WAIT,
    Done,
    environment_of,
    free_port,
    until_it_listens,
    walk,
)
from tests.docs.pages import ROOT
from vqazoo.amounts import duration

PAGE = ROOT / "docs/learn/first-day.md"
PICTURES = ROOT / "docs/pictures"
QUESTION = "what is on the table?"
WIDE, HIGH = 1280, 1000

# The same day with the sources of commit 57ef70d of 28 November 2026 in the same environment,
# measured by hand: seconds of processor time, and rows of the terminal. See TAIL.
BEFORE = {
    "vqazoo train": "31.9, 18",
    "vqazoo eval": "21.0, 141",
    "vqazoo errors": "10.6, 19",
    "vqazoo ask": "11.0, 3",
    "vqazoo info": "0.2, 175",
    "vqazoo demo": "14.3, 2",
    "vqazoo serve": "10.5, 17",
    "vqazoo export": "49.2, 1",
    "python exported/run.py": "0.8, 6",
}
NO_SUCH_VERB, NOT_MEASURED = "no such verb", "not measured"
REFUSALS = (  # of the former version, of the table as it was written
    "Error: Unknown dataset 'train.csv'. Run 'vqazoo list datasets' to see all.",
    "Error: 'train.csv', line 856: the byte 0xe9 is not UTF-8: save the file as UTF-8.",
)

HEAD = """# What does a first day with my own photographs look like?

Someone has photographs of rooms and a table of questions and answers, written by a spreadsheet,
with a few bad rows, and a second table to test on. This page is that day: each command, and all
that it prints in a terminal of 100 columns. It is made by `python -m tests.docs.first_day_page`,
and a test runs the day again and compares.

The photographs and questions are of [DAQUAR](../about/daquar.md): {train} pictures to learn from,
{test} to test on, drawn with a fixed seed, the official split. They are for research and are not
passed on, so the page shows words of them and no picture. The photograph of the cup, which the
model has never seen, is in the public domain.

After the installation nothing is fetched. [Other ways to install](../how-to/install.md), and how
to need less of a disk.

"""
TAIL = """

![The demo with the photograph of a cup, the question what is on the table, and under it the
answer: the model is not sure, its best guess and how likely it
is](../pictures/first-day-demo.png)

The picture is of `vqazoo demo runs/mine` with that photograph.

![The service's page, without scripts: the question, the sentence that the model is not sure and
what its best guess is, and a form to ask again about this image](../pictures/first-day-serve.png)

What the form on the service's page says to the same question about the same photograph.

![The page of mistakes: what was asked and scored, then a table of groups with their number of
mistakes, accuracy and cost](../pictures/first-day-errors.png)

The top of `mistakes.html`. Further down stand pictures with questions, answers and truths.

## What the day showed

- The model is poor: {pictures} photographs of rooms are few, and `train` and `suggest` say so.
  The zoo's model that learnt from all of DAQUAR is in [the results](../about/results.md).
- Whether the picture helps at all is told by `suggest`, which also trains the same parts without
  pictures.
- A low score is not shown as an answer: the demo and the service say "not sure".

## How long it takes, and how much it says

Seconds of processor time (the machine, two cores of x86_64, was shared with other work, so the
clock would say little) and rows of a terminal of 100 columns. "Before" is the commit 57ef70d of
28 November 2026, in the same environment. It could not read the table: for it, the table was
written anew by hand with commas, slashes, the usual names of columns and without the bad rows; it
had no `--encoder A+B`, no file as `--data` and wanted `dir:` before a folder. The demo
and the service were asked one question by command and one in a browser today, and none before. By
the clock, clone and installation took {minutes}; packages lay on a disk, so that the time to fetch
them over a network is not in it. Measured on {day} with Python
{python}, vqazoo {vqazoo}, torch {torch}, one thread.

| command | seconds | rows | before: seconds, rows |
| --- | --- | --- | --- |
{rows}

Of the table as the spreadsheet had written it the former version said, first as `--data`, then as
the file of the dataset `table`:

{refusals}
"""


def page(done: Sequence[Done], minutes: str) -> str:
    """The whole page; `minutes` the installation took by the clock."""
    rows = [
        f"| `{_verb(one.command)}` | {one.seen.seconds:.1f} | {one.seen.rows} | {_before(one)} |"
        for one in done
    ]
    tail = TAIL.format(
        pictures=TRAIN_PICTURES,
        minutes=minutes,
        day=datetime.now(UTC).date().isoformat(),
        python=".".join(map(str, sys.version_info[:3])),
        vqazoo=version("vqazoo"),
        torch=version("torch").partition("+")[0],
        rows="\n".join(rows),
        refusals="\n".join(f"- `{line}`" for line in REFUSALS),
    )
    head = HEAD.format(train=TRAIN_PICTURES, test=TEST_PICTURES)
    return head + "\n\n".join(map(_section, done)) + tail


def _section(done: Done) -> str:
    step = done.step
    parts = [f"## {step.title}"] if step.title else []
    parts += [step.prose] if step.prose else []
    parts.append(f"```sh\n{done.command}\n```")
    if done.seen.text:
        parts.append(f"```text\n{done.seen.text}\n```")
    if step.asking:
        parts.append("Meanwhile, in another terminal:")
        parts.append(f"```sh\n{step.asking.format(port=8000)}\n```")
        parts.append(f"```text\n{done.answered}\n```")
    return "\n\n".join(parts)


def _before(done: Done) -> str:
    if done.step in INSTALL:
        return NOT_MEASURED
    return BEFORE.get(_verb(done.command), NO_SUCH_VERB)


def _verb(command: str) -> str:
    words = command.split()
    if words[0] == "python":
        return "python exported/run.py"
    if words[0] == ".venv/bin/pip":
        return f"pip install {words[-1]}"
    return " ".join(words[:3] if words[1] in ("data", "-m") else words[:2])


def draw_demo(command: str, port: int, folder: Path) -> None:
    """Ask the demo about the photograph in a browser, and keep a picture of its page."""
    if not command.startswith("vqazoo demo"):  # the log of a service would tell of it
        return
    with _window() as window:
        window.goto(f"http://127.0.0.1:{port}/", timeout=WAIT * 1000)
        _ask_demo(window, folder)
        window.screenshot(path=PICTURES / "first-day-demo.png", full_page=True)


def draw_service(place: Path) -> None:
    """Ask a service of its own about the photograph in a browser; a picture of what it says."""
    port = free_port()
    command = [place / ".venv/bin/vqazoo", "serve", "runs/mine", "--port", str(port)]
    with subprocess.Popen(command, cwd=place, env=environment_of(place)) as service:
        try:
            until_it_listens(port, service)
            with _window() as window:
                window.goto(f"http://127.0.0.1:{port}/")
                window.locator("input[type=file]").set_input_files(PICTURE)
                window.locator("input[name=question]").fill(QUESTION)
                window.locator("form button").click()
                window.wait_for_url("**/ask")
                answer = {"x": 0, "y": 0, "width": WIDE, "height": HIGH // 2}  # below it is nothing
                window.screenshot(path=PICTURES / "first-day-serve.png", clip=answer)
        finally:
            service.terminate()


def _ask_demo(window: Any, folder: Path) -> None:
    from playwright.sync_api import expect

    upload = folder / "coffee.png"  # every version of Pillow that gradio allows reads PNG
    Image.open(PICTURE).save(upload)
    window.locator("#picture input[type=file]").set_input_files(upload)
    window.get_by_alt_text("The picture that you ask about").wait_for()
    window.get_by_label("Question").fill(QUESTION)
    window.get_by_role("button", name="Ask", exact=True).click()
    expect(window.locator("#answers")).to_contain_text("The picture is kept", timeout=WAIT * 1000)
    window.wait_for_timeout(2_000)  # until the pictures are painted


def draw_mistakes(page: Path) -> None:
    """Keep a picture of the top of a page of mistakes."""
    with _window() as window:
        window.goto(page.as_uri())
        window.screenshot(path=PICTURES / "first-day-errors.png")


@contextmanager
def _window() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        window = browser.new_page(viewport={"width": WIDE, "height": HIGH})
        window.set_default_timeout(WAIT * 1000)
        yield window
        browser.close()


def main() -> None:
    daquar = Path(os.environ["VQAZOO_TEST_DATA"], "daquar")
    with tempfile.TemporaryDirectory() as folder:
        done, began, installed = [], time.monotonic(), 0.0
        for one in walk(daquar, Path(folder), draw_demo, fresh=True):
            print(f"{one.seen.seconds:5.1f} s  {one.seen.rows:3} rows  {one.command}", flush=True)
            done.append(one)
            if one.step == INSTALL[-1]:
                installed = time.monotonic() - began
            if one.command.startswith("vqazoo errors"):
                draw_mistakes(Path(folder, "day/mistakes.html"))
        draw_service(Path(folder, "day"))
    PAGE.write_text(page(done, duration(installed)), encoding="utf-8")


if __name__ == "__main__":
    main()
