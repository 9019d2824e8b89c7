"""Pictures: the loss curve of a run, and a grid of answered questions. Imports matplotlib."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vqazoo.answers import select_answer
from vqazoo.data import Example
from vqazoo.evaluate import is_correct
from vqazoo.images import open_image
from vqazoo.interfaces import Answer

RIGHT, WRONG, OPEN = "#0a6b2d", "#b3261e", "#333333"  # readable on white


def loss_figure(log: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Training loss and validation accuracy by epoch, one above the other."""
    epochs = [line["epoch"] for line in log]
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    loss_axes, accuracy_axes = figure.subplots(2, 1, sharex=True)
    loss_axes.plot(epochs, [line["loss"] for line in log], marker="o", color="#1f4e9c")
    loss_axes.set_ylabel("training loss")
    accuracies = [100 * line["validation_accuracy"] for line in log]
    accuracy_axes.plot(epochs, accuracies, marker="o", color="#b35900")
    accuracy_axes.set_ylabel("validation accuracy (%)")
    accuracy_axes.set_xlabel("epoch")
    accuracy_axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (loss_axes, accuracy_axes):
        axes.grid(alpha=0.3)
    _save(figure, file)


def answer_figure(
    examples: Sequence[Example], answers: Sequence[Answer], file: Path, columns: int = 4
) -> None:
    """A grid of pictures with question, answer and score; green right, red wrong."""
    rows = -(-len(examples) // columns)
    figure = Figure(figsize=(3.1 * columns, 3.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, example, answer in zip(grid.flat, examples, answers, strict=False):
        axes.imshow(open_image(example.image), interpolation="nearest")
        truth = select_answer(example.answers)
        colour = OPEN if not truth else RIGHT if is_correct(example, answer) else WRONG
        lines = textwrap.wrap(example.question, 34)[:3]
        said = f"{answer.text or '(nothing)'} ({answer.score:.0%})"
        if truth and colour == WRONG:
            said += f", not {truth}"
        lines += textwrap.wrap(said, 34)[:2]
        axes.set_title("\n".join(lines), fontsize=10, color=colour)
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    """Draw in memory first, then replace the file in one step."""
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_bytes(picture.getvalue())
    os.replace(fresh, file)
