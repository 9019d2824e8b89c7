"""Run the tour and draw its pictures anew: `python -m tests.docs.draw_tour`. Imports torch."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import textwrap
from pathlib import Path

from PIL import Image

import vqazoo
from tests.docs.pages import ROOT, blocks
from tests.docs.test_tour import commands
from vqazoo.cli import run
from vqazoo.plots import BLUE, FINE, new_figure, save_figure

PICTURES = ROOT / "docs" / "pictures"
MODEL = "tiny-clip-linear-flawedshapes"
ASKED = (
    ("shapes.png", "what color is the circle?"),
    ("shapes.png", "what color is the star?"),
    ("blurred.png", "what color is the circle?"),
)


def run_tour() -> None:
    names: dict[str, object] = {}
    for block in blocks("docs/learn/tour.md"):
        if block.language == "python":
            exec(compile(block.content, str(block), "exec"), names)
        for line in commands(block) if block.language == "sh" else []:
            assert run(shlex.split(line)[1:]) == 0, line


def draw_answers(file: Path) -> None:
    """Each picture with its question, and the three best answers as bars."""
    model = vqazoo.load(MODEL)
    figure = new_figure(3.4)
    axes = figure.subplots(2, 3, height_ratios=(2, 1))
    for column, (name, question) in enumerate(ASKED):
        above, below = axes[:, column]
        above.imshow(Image.open(name), interpolation="nearest")
        above.set_title(textwrap.fill(question, 20), fontsize=FINE)
        above.set_xticks([])
        above.set_yticks([])
        best = model.answer(name, question, top_k=3)
        ranked = [best, *best.alternatives]
        words = [textwrap.fill(one.text, 12) for one in ranked]
        below.barh(words, [one.score for one in ranked], color=BLUE)
        below.invert_yaxis()
        below.set_xlim(0, 1.5)
        below.set_xticks([])
        below.tick_params(length=0, labelsize=FINE)
        below.spines[:].set_visible(False)
        for row, one in enumerate(ranked):
            below.text(one.score + 0.05, row, f"{one.score:.0%}", va="center", fontsize=FINE)
    save_figure(figure, file)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run_tour()
        draw_answers(PICTURES / "tour-answers.png")
        shutil.copyfile("looked.png", PICTURES / "tour-explain.png")
        shutil.copyfile("runs/second/loss.png", PICTURES / "tour-loss.png")
        shutil.copyfile("runs/first/test/answers.png", PICTURES / "tour-test.png")
        os.chdir(ROOT)
