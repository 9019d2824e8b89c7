"""Pictures of runs and scores: curves, heat maps, a grid of answers. Imports matplotlib."""

from __future__ import annotations

import io
import math
import random
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from vqazoo.amounts import percent
from vqazoo.data import Example
from vqazoo.data.answers import normalise, select_answer
from vqazoo.evaluation.agreement import is_correct
from vqazoo.evaluation.metrics import Floats
from vqazoo.evaluation.metrics.reliability import BINS, RiskCoverage, calibration_error
from vqazoo.files.writing import write_file
from vqazoo.interfaces import Answer
from vqazoo.media.video import still

ANSWER_KINDS = ("yes/no", "number", "unanswerable", "other")  # of answers, told from their words
RIGHT, WRONG, OPEN = "#0a6b2d", "#b3261e", "#333333"  # readable on white


def loss_figure(log: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Training and validation loss, and validation accuracy, by epoch, one above the other."""
    epochs = [line["epoch"] for line in log]
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    loss_axes, accuracy_axes = figure.subplots(2, 1, sharex=True)
    for key, label, colour in (
        ("loss", "training", "#1f4e9c"),
        ("validation_loss", "validation", "#b35900"),
    ):
        loss_axes.plot(
            epochs,
            [math.nan if e[key] is None else e[key] for e in log],
            marker="o",
            color=colour,
            label=label,
        )
    loss_axes.set_ylabel("loss")
    loss_axes.legend()
    shown = "vqa-accuracy" if "validation_vqa-accuracy" in log[0] else "accuracy"
    values = [100 * line[f"validation_{shown}"] for line in log]
    accuracy_axes.plot(epochs, values, marker="o", color="#b35900")
    accuracy_axes.set_ylabel(f"validation {shown} (%)")
    accuracy_axes.set_xlabel("epoch")
    accuracy_axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(epochs) == 1:
        accuracy_axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    for axes in (loss_axes, accuracy_axes):
        axes.grid(alpha=0.3)
    _save(figure, file)


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
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.step(100 * curve.coverage, 100 * curve.risk, where="post", color="#1f4e9c")
    axes.set_xlabel("coverage: questions answered (%)")
    axes.set_ylabel("risk: 100 - mean score (%)")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, None)
    axes.grid(alpha=0.3)
    axes.set_title(f"area under the curve {curve.area():.3f}", fontsize=10)
    _save(figure, file)


def calibration_figure(scores: Floats, series: Mapping[str, Floats], file: Path) -> None:
    """How often answers are right by how sure the model is, and how many are how sure.

    Args:
        scores: (n,) of each answer, in [0, 1]; series: (n,) confidences by name, the last in blue.
    """
    figure = Figure(figsize=(5, 5.4), layout="constrained")
    right, counted = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    right.plot((0, 100), (0, 100), color="#777777", linestyle=":", label="as sure as right")
    styles = [("#b35c00", "o", "--"), ("#1f4e9c", "s", "-")][-len(series) :]
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
    right.legend(fontsize=9, loc="upper left")
    counted.set_xlabel("how sure the model says it is (%)")
    counted.set_ylabel("answers (%)")
    counted.set_xlim(0, 100)
    for axes in (right, counted):
        axes.grid(alpha=0.3)
    _save(figure, file)


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
    width = max(4.5, 1.2 + 0.08 * longest + 1.3 * len(columns))  # inches
    lines = textwrap.wrap(title, int(11 * width))
    figure = Figure(figsize=(width, 1.8 + 0.6 * len(rows) + 0.2 * len(lines)), layout="constrained")
    figure.suptitle("\n".join(lines), fontsize=10, parse_math=False)
    axes = figure.subplots()
    axes.imshow(
        values, cmap="Blues", vmin=0, vmax=max(float(np.nanmax(values)), 1e-9), aspect="auto"
    )
    axes.set_xticks(range(len(columns)), columns, rotation=20, ha="right", parse_math=False)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    axes.set_xlabel(column_label)
    axes.set_ylabel(row_label)
    middle = 0.6 * np.nanmax(values)
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        text = percent(float(value), 0) if texts is None else texts[row][column]
        colour = "white" if value > middle else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    _save(figure, file)


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


def answer_figure(
    examples: Sequence[Example], answers: Sequence[Answer], file: Path, columns: int = 4
) -> None:
    """A grid of pictures with question, answer and score; green right, red wrong."""
    columns = min(columns, len(examples))
    rows = -(-len(examples) // columns)
    # Pictures keep their shape; `constrained` would cut the first row's titles off.
    figure = Figure(figsize=(3.1 * columns, 3.6 * rows), layout="compressed")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, example, answer in zip(grid.flat, examples, answers, strict=False):
        axes.imshow(still(example.image), interpolation="nearest")
        truth = select_answer(example.answers)
        colour = OPEN if not truth else RIGHT if is_correct(example, answer) else WRONG
        lines = textwrap.wrap(example.question, 34, max_lines=3, placeholder=" …")
        sure = "" if math.isnan(answer.score) else f" ({answer.score:.0%})"
        said = f"{answer.text or '(nothing)'}{sure}"
        if truth and colour == WRONG:
            said += f", not {truth}"
        lines += textwrap.wrap(said, 34, max_lines=2, placeholder=" …")
        text = "\n".join(lines)
        axes.set_title(text, fontsize=10, color=colour, parse_math=False)  # $ is a dollar
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    """Draw in memory first, then replace the file in one step."""
    picture = io.BytesIO()
    with warnings.catch_warnings():  # letters that the font lacks are drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        FigureCanvasAgg(figure).print_png(picture)
    write_file(file, picture.getvalue())
