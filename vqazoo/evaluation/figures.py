"""Pictures of runs and scores: curves, heat maps, a grid of answers. Imports matplotlib."""

from __future__ import annotations

import math
import random
import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from vqazoo.amounts import percent
from vqazoo.data import Example
from vqazoo.data.answers import normalise, select_answer
from vqazoo.evaluation.agreement import is_correct
from vqazoo.evaluation.metrics import Floats
from vqazoo.evaluation.metrics.reliability import BINS, RiskCoverage, calibration_error
from vqazoo.interfaces import Answer
from vqazoo.media.video import still
from vqazoo.plots import (
    BLUE,
    BROWN,
    DARK,
    FAINT,
    FINE,
    GREEN,
    INCHES,
    LETTERS,
    RED,
    SHADES,
    SLATE,
    legend,
    new_figure,
    plain_axes,
    save_figure,
)

ANSWER_KINDS = ("yes/no", "number", "unanswerable", "other")  # of answers, told from their words
GRID_COLUMNS = 3
LINE = 24  # letters in a line above a picture of the grid


def loss_figure(log: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Training and validation loss, and validation accuracy, by epoch, one above the other."""
    epochs = [line["epoch"] for line in log]
    figure = new_figure(4.6)
    loss_axes, accuracy_axes = figure.subplots(2, 1, sharex=True)
    for key, label, colour, marker in (
        ("loss", "training", BLUE, "s"),
        ("validation_loss", "validation", BROWN, "o"),
    ):
        loss_axes.plot(
            epochs,
            [math.nan if e[key] is None else e[key] for e in log],
            marker=marker,
            markersize=4,
            color=colour,
            label=label,
        )
    loss_axes.set_ylabel("loss")
    legend(loss_axes)
    shown = "vqa-accuracy" if "validation_vqa-accuracy" in log[0] else "accuracy"
    values = [100 * line[f"validation_{shown}"] for line in log]
    accuracy_axes.plot(epochs, values, marker="o", markersize=4, color=BROWN)
    accuracy_axes.set_ylabel(f"validation {shown} (%)")
    accuracy_axes.set_xlabel("epoch")
    accuracy_axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(epochs) == 1:
        accuracy_axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
        accuracy_axes.set_xticks(epochs)
    for axes in (loss_axes, accuracy_axes):
        plain_axes(axes)
    save_figure(figure, file)


def confusion_figure(examples: Sequence[Example], answers: Sequence[Answer], file: Path) -> None:
    """How often an answer of each type was given to a question of each type, in shares of a row.

    The type of a question is the dataset's, else told from its answer; that of an answer is told
    from its words: yes/no, number, unanswerable, other.
    """
    pairs = [(e, a) for e, a in zip(examples, answers, strict=True) if e.answers]
    rows = [e.answer_type or answer_kind(select_answer(e.answers)) for e, _ in pairs]
    columns = [answer_kind(answer.text) for _, answer in pairs]
    names = [*ANSWER_KINDS, *sorted(set(rows) - set(ANSWER_KINDS))]
    counts = Counter(zip(rows, columns, strict=True))
    shown = [name for name in names if any(row == name for row in rows)]
    table = np.array(
        [[counts[row, column] for column in ANSWER_KINDS] for row in shown], dtype=float
    )
    shares = table / table.sum(axis=1, keepdims=True)
    labels = [f"{name} ({rows.count(name):,})" for name in shown]
    _heat_map(
        shares, labels, list(ANSWER_KINDS), "type of the question", "type of the answer given", file
    )


def answer_kind(text: str) -> str:
    """One of ANSWER_KINDS, told from the words of an answer."""
    text = normalise(text)
    if text in ("yes", "no"):
        return "yes/no"
    if text in ("unanswerable", "unsuitable", "unsuitable image"):
        return "unanswerable"
    return "number" if re.fullmatch(r"[$£€]?\d[\d.,:/ -]*%?", text) else "other"


def reliability_figure(curve: RiskCoverage, file: Path) -> None:
    """Risk over coverage: what abstaining from the least sure answers gains."""
    figure = new_figure(3.6)
    axes = figure.subplots()
    axes.step(100 * curve.coverage, 100 * curve.risk, where="post", color=BLUE)
    axes.set_xlabel("coverage: questions answered (%)")
    axes.set_ylabel("risk: 100 - mean score (%)")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, None)
    plain_axes(axes)
    axes.set_title(f"area under the curve {curve.area():.3f}", fontsize=LETTERS, loc="left")
    save_figure(figure, file)


def calibration_figure(scores: Floats, series: Mapping[str, Floats], file: Path) -> None:
    """How often answers are right by how sure the model is, and how many are how sure.

    Args:
        scores: (n,) of each answer, in [0, 1]; series: (n,) confidences by name, the last in blue.
    """
    figure = new_figure(5.4)
    right, counted = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    right.plot((0, 100), (0, 100), color=SLATE, linestyle=":", label="as sure as right")
    styles = [(BROWN, "o", "--"), (BLUE, "s", "-")][-len(series) :]
    for (name, confidence), (colour, marker, line) in zip(series.items(), styles, strict=True):
        place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        rows = np.bincount(place, minlength=BINS)
        filled = rows > 0
        sure = np.bincount(place, weights=confidence, minlength=BINS)[filled] / rows[filled]
        share = np.bincount(place, weights=scores, minlength=BINS)[filled] / rows[filled]
        error = calibration_error(scores, confidence)
        label = f"{name}: {percent(error)} off" if name else f"{percent(error)} off"
        right.plot(100 * sure, 100 * share, color=colour, marker=marker, ls=line, label=label)
        edges = 100 * np.arange(BINS) / BINS
        shares = 100 * rows / max(1, len(scores))
        counted.stairs(shares, [*edges, 100], color=colour, linestyle=line)
    right.set_ylabel("right (%)")
    right.set_ylim(0, 102)
    legend(right, loc="upper left")
    counted.set_xlabel("how sure the model says it is (%)")
    counted.set_ylabel("answers (%)")
    counted.set_xlim(0, 100)
    for axes in (right, counted):
        plain_axes(axes)
    save_figure(figure, file)


def sweep_figure(
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    file: Path,
) -> None:
    """Mean and deviation over seeds of each encoder (row) with each head (column)."""
    texts = [
        [
            "-" if np.isnan(m) else f"{100 * m:.1f} ± {100 * d:.1f}"
            for m, d in zip(*pair, strict=True)
        ]
        for pair in zip(mean, deviation, strict=True)
    ]
    _heat_map(mean, rows, columns, "encoder", "head, with its fusion if named", file, texts, title)


def _heat_map(
    values: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    row_label: str,
    column_label: str,
    file: Path,
    texts: Sequence[Sequence[str]] | None = None,
    title: str = "",
) -> None:
    """A table of values in [0, 1], coloured and with each value written in its cell."""
    longest = max((len(row) for row in rows), default=0)
    width = max(INCHES, 1.2 + 0.08 * longest + 0.8 * len(columns))  # inches
    lines = textwrap.wrap(title, int(11 * width))
    figure = new_figure(1.6 + 0.45 * len(rows) + 0.2 * len(lines), width)
    figure.suptitle("\n".join(lines), fontsize=LETTERS, parse_math=False)
    axes = figure.subplots()
    axes.imshow(
        values, cmap=SHADES, vmin=0, vmax=max(float(np.nanmax(values)), 1e-9), aspect="auto"
    )
    axes.set_xticks(range(len(columns)), columns, rotation=20, ha="right", parse_math=False)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    axes.set_xlabel(column_label)
    axes.set_ylabel(row_label)
    axes.tick_params(colors=DARK, labelsize=FINE, length=0)
    axes.spines[:].set_visible(False)
    middle = 0.6 * np.nanmax(values)
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        text = percent(float(value), 0) if texts is None else texts[row][column]
        colour = "white" if value > middle else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=FINE)
    save_figure(figure, file)


def grid_rows(
    examples: Sequence[Example], answers: Sequence[Answer], count: int, seed: int
) -> list[int]:
    """Rows for a picture grid: half right and half wrong where there are enough, seeded."""
    rng = random.Random(seed)
    pairs = list(zip(examples, answers, strict=True))
    right = [i for i, (e, a) in enumerate(pairs) if e.answers and is_correct(e, a)]
    wrong = [i for i, (e, a) in enumerate(pairs) if not (e.answers and is_correct(e, a))]
    rng.shuffle(right)
    rng.shuffle(wrong)
    half = count // 2
    taken = right[: max(half, count - len(wrong))]
    return taken + wrong[: count - len(taken)]


def answer_figure(examples: Sequence[Example], answers: Sequence[Answer], file: Path) -> None:
    """A grid of pictures with question, answer and score; green right, red wrong."""
    columns = min(GRID_COLUMNS, len(examples))
    titles = [_title(*pair) for pair in zip(examples, answers, strict=True)]
    deepest = max(text.count("\n") + 1 for text, _ in titles)
    rows, side = -(-len(examples) // columns), INCHES / GRID_COLUMNS
    # Pictures keep their shape; `constrained` would cut the first row's titles off.
    figure = new_figure(
        (side + deepest * FINE / 55 + 0.15) * rows, side * columns, "compressed"
    )  # a line of FINE points is FINE / 55 inches high
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(examples) :]:
        axes.axis("off")
    for axes, example, (text, colour) in zip(grid.flat, examples, titles, strict=False):
        axes.imshow(still(example.image), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(FAINT)  # white pictures need an edge
        axes.set_title(text, fontsize=FINE, color=colour, parse_math=False)  # $ is a dollar
    save_figure(figure, file)


def _title(example: Example, answer: Answer) -> tuple[str, str]:
    """Question, answer and score in lines, and their colour."""
    truth = select_answer(example.answers)
    colour = DARK if not truth else GREEN if is_correct(example, answer) else RED
    lines = textwrap.wrap(example.question, LINE, max_lines=3, placeholder=" …")
    sure = "" if math.isnan(answer.score) else f" ({answer.score:.0%})"
    said = f"{answer.text or '(nothing)'}{sure}"
    if truth and colour == RED:
        said += f", not {truth}"
    lines += textwrap.wrap(said, LINE, max_lines=2, placeholder=" …")
    return "\n".join(lines), colour
