"""Writes docs/learn/first-day.md from a real run.

Run:  VQAZOO_TEST_DATA=FOLDER python -m tests.docs.first_day_page
where FOLDER holds `daquar` as docs/about/daquar.md says. It takes some minutes, and needs chromium.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from tests.docs.first_day import PICTURE, TEST_PICTURES, TRAIN_PICTURES, WAIT, Done, walk
from tests.docs.pages import ROOT

PAGE = ROOT / "docs/learn/first-day.md"
SCREENSHOT = ROOT / "docs/pictures/first-day-demo.png"

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
NO_SUCH_VERB = "no such verb"
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

It begins after [installing](../how-to/install.md) with the extras `pretrained`, `demo`, `serve`
and `export`; from then on nothing is fetched.

"""
TAIL = """

![The demo with the photograph of a cup, the question what is on the table, and under it the
answer: the model is not sure, its best guess and how likely it
is](../pictures/first-day-demo.png)

The picture is of `vqazoo demo runs/mine` with that photograph.

## What the day showed

- The model is poor: {pictures} photographs of rooms are few, and `train` and `suggest` say so.
  The zoo's model that learnt from all of DAQUAR is in [the results](../about/results.md).
- Whether the picture helps at all is told by `suggest`, which also trains the same parts without
  pictures.
- A low score is not shown as an answer: the demo and the service say "not sure".

## How long it takes, and how much it says

Seconds of processor time (the machine, two cores of x86_64, was shared with other work, so the
clock would say nothing) and rows of a terminal of 100 columns. "Before" is the commit 57ef70d of
28 November 2026, in the same environment. It could not read the table: for it, the table was
written anew by hand with commas, slashes, the usual names of columns and without the bad rows; it
had no `--encoder A+B`, no file as `--data` and wanted `dir:` before a folder. The demo
and the service were asked one question today, and none before. Measured on {day} with Python
{python}, vqazoo {vqazoo}, torch {torch}, one thread.

| command | seconds | rows | before: seconds, rows |
| --- | --- | --- | --- |
{rows}

Of the table as the spreadsheet had written it the former version said, first as `--data`, then as
the file of the dataset `table`:

{refusals}
"""


def page(done: Sequence[Done]) -> str:
    """The whole page."""
    rows = [
        f"| `{_verb(one.command)}` | {one.seen.seconds:.1f} | {one.seen.rows} | "
        f"{BEFORE.get(_verb(one.command), NO_SUCH_VERB)} |"
        for one in done
    ]
    tail = TAIL.format(
        pictures=TRAIN_PICTURES,
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
    parts.append(f"```text\n{done.seen.text}\n```")
    if step.asking:
        parts.append("Meanwhile, in another terminal:")
        parts.append(f"```sh\n{step.asking.format(port=8000)}\n```")
        parts.append(f"```text\n{done.answered}\n```")
    return "\n\n".join(parts)


def _verb(command: str) -> str:
    words = command.split()
    if words[0] == "python":
        return "python exported/run.py"
    return " ".join(words[:3] if words[1] == "data" else words[:2])


def draw_demo(port: int, folder: Path) -> None:
    """Ask the demo about the photograph in a browser, and keep a picture of its page."""
    from playwright.sync_api import expect, sync_playwright

    upload = folder / "coffee.png"  # every version of Pillow that gradio allows reads PNG
    Image.open(PICTURE).save(upload)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        window = browser.new_page(viewport={"width": 1280, "height": 1000})
        window.set_default_timeout(WAIT * 1000)
        window.goto(f"http://127.0.0.1:{port}/", timeout=WAIT * 1000)
        window.locator("#picture input[type=file]").set_input_files(upload)
        window.get_by_alt_text("The picture that you ask about").wait_for()
        window.get_by_label("Question").fill("what is on the table?")
        window.get_by_role("button", name="Ask", exact=True).click()
        said = window.locator("#status").get_by_role("status")
        expect(said).to_contain_text("mine", timeout=WAIT * 1000)
        window.wait_for_timeout(2_000)  # until the pictures are painted
        window.screenshot(path=SCREENSHOT, full_page=True)
        browser.close()


def main() -> None:
    daquar = Path(os.environ["VQAZOO_TEST_DATA"], "daquar")
    with tempfile.TemporaryDirectory() as folder:
        done = []
        for one in walk(daquar, Path(folder), draw_demo):
            print(f"{one.seen.seconds:5.1f} s  {one.seen.rows:3} rows  {one.command}", flush=True)
            done.append(one)
    PAGE.write_text(page(done), encoding="utf-8")


if __name__ == "__main__":
    main()
