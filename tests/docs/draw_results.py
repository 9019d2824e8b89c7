"""The table and the figure of all packaged models at the top of docs/about/results.md.

Run after a model was scored anew or added:  python -m tests.docs.draw_results
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from tests.docs.pages import ROOT
from vqazoo.amounts import percent, size
from vqazoo.evaluation.summary import MAIN
from vqazoo.plots import BLUE, BROWN, FINE, SLATE, legend, new_figure, plain_axes, save_figure

PAGE = ROOT / "docs" / "about" / "results.md"
FIGURE = ROOT / "docs" / "pictures" / "results.png"
CARDS = ROOT / "model_cards"
START, END = "<!-- models: python -m tests.docs.draw_results -->", "<!-- end of models -->"


class Row(NamedTuple):
    """A packaged model on its test split; shares of one, None where there is no such number."""

    name: str
    data: str
    metric: str
    score: float
    interval: tuple[float, float] | None
    constant: float | None
    question_only: float | None
    weights: int


def rows() -> list[Row]:
    """All packaged models that have weights, those of one data set together, best first."""
    listed = json.loads((CARDS / "catalogue.json").read_bytes())
    found = []
    for name, told in listed.items():
        if told["weights"] != "packaged":
            continue
        tested = {
            one["name"]: one
            for one in json.loads((CARDS / name / "metrics.json").read_bytes())
            if one["split"] == "test"
        }
        main = next(metric for metric in MAIN if metric in tested)
        low_high = tested[main].get("interval")
        found.append(
            Row(
                name,
                told["data"],
                main,
                tested[main]["value"],
                (low_high[0], low_high[1]) if low_high else None,
                tested.get(f"constant-answer-{main}", {}).get("value"),
                tested.get(f"question-only-{main}", {}).get("value"),
                told["size"],
            )
        )
    return sorted(found, key=lambda row: (row.data, row.metric, -row.score, row.weights))


def share(value: float | None) -> str:
    return "-" if value is None else percent(value)


def table() -> str:
    """The table and the figure, as Markdown."""
    head = "model|score|95% interval|constant answer|question only|weights"
    cells = [head.split("|"), ["---"] * 6]
    for row in rows():
        between = " to ".join(f"{100 * end:.2f}" for end in row.interval) if row.interval else "-"
        cells.append(
            [
                f"`{row.name}`",
                percent(row.score) + ("" if row.metric == "accuracy" else f" {row.metric}"),
                between,
                share(row.constant),
                share(row.question_only),
                size(row.weights),
            ]
        )
    lines = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    return f"{START}\n{lines}\n\n![{alt_text()}](../pictures/{FIGURE.name})\n{END}"


def alt_text() -> str:
    """What the figure shows, in words."""
    told = []
    for row in rows():
        beside = [("constant answer", row.constant), ("question only", row.question_only)]
        known = [f"{what} {100 * value:.2f}" for what, value in beside if value is not None]
        told.append(
            f"{row.name} {100 * row.score:.2f}" + (f" ({', '.join(known)})" if known else "")
        )
    return f"Scores on the test splits in percent: {'; '.join(told)}"


def named(row: Row) -> str:
    return row.name if row.metric == "accuracy" else f"{row.name}\n{row.metric}"


def draw(file: Path) -> None:
    """Each model's score with its interval, beside the constant answer and the question alone."""
    shown = rows()
    figure = new_figure(1.0 + 0.42 * len(shown))
    axes = figure.subplots()
    marks = (
        ("constant", "constant answer", "s", SLATE),
        ("question_only", "question only", "^", BROWN),
        ("score", "model, with its 95% interval", "o", BLUE),
    )
    for field, label, marker, colour in marks:
        known = [(getattr(row, field), place) for place, row in enumerate(shown)]
        values, places = zip(*[pair for pair in known if pair[0] is not None], strict=True)
        axes.plot([100 * v for v in values], places, marker, color=colour, label=label, zorder=3)
    for place, row in enumerate(shown):
        low, high = row.interval or (row.score, row.score)
        axes.plot([100 * low, 100 * high], [place, place], color=BLUE, linewidth=4, alpha=0.5)
        axes.text(106, place, f"{100 * row.score:.2f}", va="center", fontsize=FINE)
    axes.set_yticks(range(len(shown)), [named(row) for row in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 120)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("score on the test split (%)")
    legend(axes, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, columnspacing=1)
    plain_axes(axes, grid="x")
    axes.tick_params(axis="y", length=0)
    save_figure(figure, file)


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    PAGE.write_text(before + table() + rest.partition(END)[2], encoding="utf-8")
    draw(FIGURE)
