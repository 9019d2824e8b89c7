"""A new user's first day, step by step; tests/docs/first_day_page.py makes a page of it.

DAQUAR is for research and stays outside of the repository: the page has questions and answers of
it, and no picture.
"""

from __future__ import annotations

import csv
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.docs.pages import ROOT
from tests.support.terminal import Seen, has_ended, seen
from vqazoo.data import Example, open_dataset

PICTURE = ROOT / "docs/pictures/coffee.jpg"  # CC0, see tests/docs/draw_photograph.py
TRAIN_PICTURES, TEST_PICTURES = 100, 60
HALF = 3_000  # bytes of a picture whose upload broke off
ASKED = 'coffee.jpg "what is on the table?"'
WAIT = 300.0  # seconds until a service answers
QUIET = 2.0  # seconds that a service has to write its lines


class Step(NamedTuple):
    """A command of the day; `service`: it runs until it is ended, and `asking` is run meanwhile."""

    title: str
    prose: str
    command: str
    service: bool = False
    asking: str = ""


class Done(NamedTuple):
    step: Step
    command: str
    seen: Seen
    answered: str = ""  # what `asking` printed


INSTALL = (
    Step(
        "A fresh clone",
        "`ADDRESS` is the repository's page. The commands of the day are those of this "
        "environment, whose `bin` stands in the `PATH`; it takes 6.5 GB of a disk.",
        "git clone ADDRESS vqazoo",
    ),
    Step("", "", "python3 -m venv .venv"),
    Step(
        "",
        "",
        ".venv/bin/pip install --quiet --disable-pip-version-check "
        "'./vqazoo[pretrained,demo,export]'",
    ),
    Step(
        "",
        "The service reads photographs of strangers and wants a newer Pillow than the demo asks "
        "for. The two work together, and the demo then reads every format; pip calls it an error, "
        "and installs it all the same:",
        ".venv/bin/pip install --quiet --disable-pip-version-check './vqazoo[serve]'",
    ),
)
FROM_SUGGEST = "(the command that suggest ends with)"
STEPS = (
    Step(
        "Let it look",
        "The table was written by a spreadsheet: semicolons, an encoding of Windows, backslashes "
        "in paths, columns with names of its own. Some rows are bad.",
        "vqazoo data init train.csv",
    ),
    Step(
        "Which parts suit the data?",
        "We delete the row without a question, as it says, and go on with the next command that "
        "it names.",
        "vqazoo suggest --data mine.toml --skip-missing",
    ),
    Step("Train", "The last line of `suggest` is the next command.", FROM_SUGGEST),
    Step(
        "How good is it?",
        "Other pictures than those that it learnt from, in another table.",
        "vqazoo eval runs/mine --data test.csv --out runs/mine/test",
    ),
    Step(
        "Where is it wrong?",
        "The page holds the pictures with questions, answers and truths; nothing of it leaves the "
        "machine.",
        "vqazoo errors runs/mine --data test.csv",
    ),
    Step("Ask it", "About another photograph:", f"vqazoo ask runs/mine {ASKED} --top-k 3"),
    Step("What is it?", "", "vqazoo info runs/mine"),
    Step("What else was trained?", "", "vqazoo runs"),
    Step(
        "A page to click on",
        "Ctrl-C ends it.",
        "vqazoo demo runs/mine --port {port}",
        service=True,
    ),
    Step(
        "A service",
        "",
        "vqazoo serve runs/mine --port {port}",
        service=True,
        asking='curl -s -F image=@coffee.jpg -F question="what is on the table?" '
        "http://127.0.0.1:{port}/answer",
    ),
    Step("Without vqazoo", "", "vqazoo export runs/mine --out exported"),
    Step(
        "",
        "The folder needs onnxruntime, tokenizers, numpy and Pillow:",
        f"python exported/run.py {ASKED}",
    ),
)


Meanwhile = Callable[[str, int, Path], None]


def nothing(command: str, port: int, folder: Path) -> None:
    """Let a service be."""


def make_folder(daquar: Path, folder: Path) -> None:
    """Write a user's folder: photographs, a table to learn from with bad rows, one to test on."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    reader = open_dataset("daquar", {"data_root": str(daquar)})
    rng = random.Random(0)
    for split, count in (("train", TRAIN_PICTURES), ("test", TEST_PICTURES)):
        examples = reader.read(split)
        pictures = sorted({example.image for example in examples})
        chosen = set(rng.sample(pictures, count))
        for picture in chosen:
            shutil.copy(picture, photos)
        rows = [_row(example) for example in examples if example.image in chosen]
        if split == "train":
            (photos / "half.jpg").write_bytes(min(chosen).read_bytes()[:HALF])
            rows = with_bad_rows(rows)
        with open(folder / f"{split}.csv", "w", newline="", encoding="cp1252") as file:
            table = csv.writer(file, delimiter=";")
            table.writerows([("Filename", "Question", "Label"), *rows])
    shutil.copy(PICTURE, folder)


def _row(example: Example) -> tuple[str, str, str]:
    return f"photos\\{example.image.name}", example.question, example.answers[0]


def with_bad_rows(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """One of each kind: no answer, no question, no picture, half a picture, "N/A", repeated ones
    and a contradicting one; an accent that is not UTF-8."""
    bad = list(rows)
    bad[10] = (*bad[10][:2], "")
    bad[20] = (bad[20][0], "", bad[20][2])
    bad[30] = ("photos\\holiday.jpg", *bad[30][1:])
    bad[40] = (*bad[40][:2], "N/A")
    bad += bad[50:60]
    bad.append((*bad[70][:2], "something else"))
    bad.append(("photos\\half.jpg", "what is on the café table?", "cup"))
    return bad


def walk(
    daquar: Path, folder: Path, meanwhile: Meanwhile = nothing, fresh: bool = False
) -> Iterator[Done]:
    """Every step, in a folder that is made for it, with caches of its own.

    Args:
        meanwhile: called with a service's command, its port and a folder while it runs.
        fresh: whether to begin with a clone and an environment of its own, which needs a network
            and 7 GB; else the one of now is used.
    """
    home, place = folder / "home", folder / "day"
    home.mkdir()
    make_folder(daquar, place)
    environment = environment_of(place)
    if fresh:
        environment.pop("PYTHONPATH", None)
    if fresh:
        yield from _installed(folder, place, environment)
        environment["PATH"] = f"{place}/.venv/bin{os.pathsep}{os.environ['PATH']}"
    following = ""
    for step in STEPS:
        command = following if step.command == FROM_SUGGEST else step.command
        port = free_port()
        said: list[str] = []
        during = partial(_meanwhile, step, port, place, environment, said, meanwhile)
        shown = seen(command.format(port=port), place, environment, during)
        clean = _without_machine(shown.text, folder, port)
        answered = _without_machine("".join(said), folder, port)
        yield Done(step, command.format(port=8000), shown._replace(text=clean), answered)
        if step.command.startswith("vqazoo suggest"):
            following = shown.text.rpartition("all of the data:")[2].strip()
        if step.command.startswith("vqazoo data init"):
            _delete_row_without_question(place / "train.csv")


def environment_of(place: Path) -> dict[str, str]:
    """The environment of a new user: a home beside the folder, nothing of vqazoo set."""
    home = place.parent / "home"
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("VQAZOO")},
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
    }


def _installed(folder: Path, place: Path, environment: Mapping[str, str]) -> Iterator[Done]:
    """A clone of this repository in an environment of its own.

    Raises:
        RuntimeError: a command failed; the message is what it printed.
    """
    for step in INSTALL:
        mine = {**environment, "HOME": os.environ["HOME"]}  # whose settings say where packages are
        shown = seen(step.command.replace("ADDRESS", str(ROOT)), place, mine)
        if shown.status:
            raise RuntimeError(f"{step.command}: {shown.text}")
        lines = _without_machine(shown.text, folder).splitlines()
        # Where packages come from is this machine's matter.
        kept = [line for line in lines if "://" not in line and str(ROOT) not in line]
        yield Done(step, step.command, shown._replace(text="\n".join(kept)))


def _meanwhile(
    step: Step,
    port: int,
    place: Path,
    environment: Mapping[str, str],
    said: list[str],
    meanwhile: Meanwhile,
    process: subprocess.Popen[bytes],
) -> None:
    """Use a service and end it; of other steps nothing."""
    if not step.service:
        return
    until_it_listens(port, process)
    time.sleep(QUIET)
    meanwhile(step.command, port, place)
    if step.asking:
        said.append(seen(step.asking.format(port=port), place, environment).text)
        time.sleep(QUIET)
    process.send_signal(signal.SIGINT)


def _delete_row_without_question(table: Path) -> None:
    lines = table.read_bytes().split(b"\r\n")
    table.write_bytes(b"\r\n".join(line for line in lines if b";;" not in line))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait for a service; one that ended says why in its own words."""
    ends = time.monotonic() + WAIT
    while not has_ended(process) and time.monotonic() < ends:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=WAIT).close()
            return
        except OSError:
            time.sleep(QUIET / 10)


def _without_machine(text: str, folder: Path, port: int | None = None) -> str:
    """The text without this machine's folders and port."""
    text = text.replace(str(folder / "home"), "/home/you").replace(
        str(folder / "day"), "/home/you/day"
    )
    return text if port is None else re.sub(rf"\b{port}\b", "8000", text)
