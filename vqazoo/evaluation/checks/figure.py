"""The checks of a score as one picture of small multiples. Imports matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqazoo.evaluation.checks.changes import CORRUPTIONS, STRENGTHS, Corruption
from vqazoo.evaluation.checks_table import LABELS, SCORES, checked_kind, label_of
from vqazoo.evaluation.metric import Metric
from vqazoo.plots import (
    BLUE,
    BROWN,
    FINE,
    GREEN,
    LETTERS,
    legend,
    new_figure,
    plain_axes,
    save_figure,
)

CHECKS_FIGURE = "checks.png"
COLUMNS = 2


def checks_figure(checks: Sequence[Metric], file: Path) -> None:
    """Scores of changed questions and pictures, then each kind of damage by its strength.

    Lines across show the unchanged questions, and always giving the most frequent answer.
    """
    found = {checked_kind(metric.name): metric for metric in checks}
    bars = [
        kind for kind in found if kind in LABELS and kind != "constant-answer"
    ]  # no strengths, no group sizes
    end = next(end for end in SCORES if checks[0].name.endswith(end))
    above, below = 1.1 + 0.34 * len(bars), 6.6  # inches
    figure = new_figure(above + below)
    parts: Any = figure.subfigures(2, 1, height_ratios=(above, below))
    top, bottom = parts
    axes = top.subplots()
    for place, kind in enumerate(bars):
        _point(axes, found[kind], place)
    axes.set_yticks(range(len(bars)), [label_of(kind) for kind in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlabel(f"{end[1:]} or consistency (%), with its 95% interval", loc="right")
    axes.set_xlim(-3, 103)
    for kind, colour, label in (
        ("plain", GREEN, "nothing changed"),
        ("constant-answer", BROWN, LABELS["constant-answer"]),
    ):
        if kind in found:
            axes.axvline(100 * found[kind].value, color=colour, linestyle="--", label=label)
    legend(axes, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
    plain_axes(axes, grid="x")
    panels = bottom.subplots(-(-len(CORRUPTIONS) // COLUMNS), COLUMNS, sharey=True)
    for panel, damage in zip(panels.flat, CORRUPTIONS, strict=False):
        _damage(panel, damage, found)
    for panel in panels.flat[len(CORRUPTIONS) :]:
        panel.axis("off")
    for row in panels:
        row[0].set_ylabel(f"{end[1:]} (%)")
    save_figure(figure, file)


def _point(axes: Any, metric: Metric, place: float) -> None:
    """A value with its interval, beside which the value is written."""
    low, high = metric.interval or (metric.value, metric.value)
    axes.plot([100 * low, 100 * high], [place, place], color=BLUE, linewidth=3, alpha=0.5)
    axes.plot(100 * metric.value, place, "o", color=BLUE)
    left = metric.value > 0.85
    axes.annotate(
        f"{100 * metric.value:.1f}",
        (100 * (low if left else high), place),
        xytext=(-6 if left else 6, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=FINE,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
    )


def _damage(axes: Any, damage: Corruption, found: dict[str, Metric]) -> None:
    """The score against the strength of one kind of damage."""
    kind = damage.name
    shown = [found["plain"], *(found[f"{kind}-{strength}"] for strength in STRENGTHS)]
    values = [100 * metric.value for metric in shown]
    ends = [metric.interval or (math.nan, math.nan) for metric in shown]
    axes.fill_between(
        range(len(shown)),
        [100 * low for low, _ in ends],
        [100 * high for _, high in ends],
        color=BLUE,
        alpha=0.2,
    )
    axes.plot(range(len(shown)), values, "o-", color=BLUE)
    axes.axhline(values[0], color=GREEN, linestyle="--")
    if "constant-answer" in found:
        axes.axhline(100 * found["constant-answer"].value, color=BROWN, linestyle="--")
    axes.set_title(LABELS[kind], fontsize=LETTERS, loc="left")
    axes.set_xticks(range(len(shown)), ["none", *(f"{value:g}" for value in damage.values)])
    axes.set_xlabel(damage.parameter, fontsize=FINE)
    axes.set_ylim(-3, 103)
    plain_axes(axes)
