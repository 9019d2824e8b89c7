"""A grid of encoders, fusions and heads, each trained with several seeds. Imports torch.

Every cell is an ordinary run folder, so a sweep that was stopped goes on where it was, and any run
can be looked at, repeated or published by itself. Features are cached: an encoder encodes once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.config import RunConfig, config_digest
from vqazoo.data import open_dataset
from vqazoo.errors import DataError, IncompatibleError, TrainingError
from vqazoo.evaluation.figures import sweep_figure
from vqazoo.evaluation.split import evaluate_questions
from vqazoo.files.csv_cells import csv_text
from vqazoo.files.writing import METRICS, write_file
from vqazoo.keywords import names_keywords
from vqazoo.model import pick_device
from vqazoo.progress import Progress, unshown
from vqazoo.training.loop import run_training
from vqazoo.training.run_folder import one_writer
from vqazoo.training.same_data import SameData, questions_of
from vqazoo.training.settings import gather_config
from vqazoo.training.stages import stages
from vqazoo.training.state import RUN_CONFIG, STATE, check_state, read_position, state_metadata

RESULTS = "results"  # .csv, .md and .png in the sweep's folder


@dataclass(frozen=True)
class Cell:
    """One combination with one seed; `fusion` is empty for the head's own choice."""

    encoder: str
    fusion: str
    head: str
    seed: int

    def folder(self, out: Path) -> Path:
        parts = (self.encoder, self.fusion or "default", self.head, f"seed{self.seed}")
        return out.joinpath(*(re.sub(r"[^A-Za-z0-9._+-]", "_", part) for part in parts))

    @property
    def column(self) -> str:
        return f"{self.fusion} + {self.head}" if self.fusion else self.head


@dataclass(frozen=True)
class Result:
    """What a cell scored; None if its parts do not fit together.

    Attributes:
        interval: 95% interval of the value over pictures; None: a split was not named.
    """

    cell: Cell
    value: float | None
    questions: int = 0
    interval: tuple[float, float] | None = None


def grid(
    encoders: Sequence[str], fusions: Sequence[str], heads: Sequence[str], seeds: Sequence[int]
) -> list[Cell]:
    """All combinations, each once, the encoder outermost, so that its features are used one after
    another."""
    cells = [
        Cell(encoder, fusion, head, seed)
        for encoder in encoders
        for fusion in fusions or [""]
        for head in heads
        for seed in seeds
    ]
    return list(dict.fromkeys(cells))


@names_keywords
def sweep(
    cells: Sequence[Cell],
    out: Path,
    base: str | Path | Mapping[str, Any] | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    split: str,
    report: Callable[[str], None] = print,
    progress: Progress | None = None,
) -> list[Result]:
    """Train and score every cell that is not done yet, and write the table after each.

    Args:
        base, assignments, flags: as for `gather_config`; what all cells have in common.
        split: scored after training; empty: the validation questions.

    Raises:
        VqazooError: data or files cannot be used, or `out` holds runs with other settings. Parts
            that do not fit together are reported and their cells left empty.
    """
    with one_writer(out):
        return _sweep(cells, out, base, assignments, flags, split, report, progress)


def _sweep(
    cells: Sequence[Cell],
    out: Path,
    base: str | Path | Mapping[str, Any] | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    split: str,
    report: Callable[[str], None],
    progress: Progress | None,
) -> list[Result]:
    results: list[Result] = []
    seen = SameData(progress)
    scored: tuple[str, str] | None = None  # metric and data of the table, once there is a score
    for number, cell in enumerate(cells, start=1):
        encoder, fusion = cell.encoder, cell.fusion or None
        parts = {**flags, "encoder": encoder, "fusion": fusion, "head": cell.head}
        config = gather_config(base, assignments, {**parts, "seed": cell.seed}, by_rows=True)
        folder = cell.folder(out)
        label = f"[{number}/{len(cells)}] {cell.encoder}, {cell.column}, seed {cell.seed}"
        if split and number == 1:  # not only after the first training
            open_dataset(config.data.type, config.data.args).check_split(split)
        try:
            if not finished(folder, config, seen):
                report(f"{label}: training")
                run_training(config, folder, (folder / STATE).exists(), report, progress)
            metrics = scored_metrics(folder, config, split, seen, report, progress)
        except IncompatibleError as error:
            report(f"{label}: {error}")
            results.append(Result(cell, None))
        else:
            chosen = metric_of_cell(metrics)
            low_high = chosen.get("interval")
            interval = None if low_high is None else (low_high[0], low_high[1])
            results.append(Result(cell, chosen["value"], chosen["questions"], interval))
            report(f"{label}: {chosen['name']} {chosen['value']:.4f}")
            scored = chosen["name"], config.data.type
        if scored:
            write_sweep(results, out, scored[0], split or "validation", scored[1])
    return results


def finished(folder: Path, config: RunConfig, seen: SameData) -> bool:
    """Whether a folder holds that run, trained to its end.

    Args:
        seen: the data as they are now.

    Raises:
        TrainingError: it holds a run with other settings, or on other data.
    """
    if not (folder / STATE).exists():
        return False
    check_state(folder / STATE)
    if state_metadata(folder / STATE)[RUN_CONFIG] != config_digest(config):
        raise TrainingError(
            f"'{folder}' holds a run with other settings, so it is no part of this sweep: choose "
            f"another --out, repeat the settings of before, or remove that folder."
        )
    seen.check(folder, config)
    position = read_position(folder / STATE)
    return position.ended and position.stage == len(stages(config.training))


def metric_of_cell(metrics: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The metric that a cell is told by."""
    return next((m for m in metrics if m["name"] == "vqa-accuracy"), metrics[0])


def scored_metrics(
    folder: Path,
    config: RunConfig,
    split: str,
    seen: SameData,
    report: Callable[[str], None],
    progress: Progress | None,
) -> list[dict[str, Any]]:
    """The metrics of a trained cell; answered once, then read from its folder, as long as the
    split has the same questions and answers."""
    if not split:
        metrics: list[dict[str, Any]] = json.loads((folder / "best" / METRICS).read_text())
        return metrics
    file = folder / split / METRICS
    if file.is_file():
        metrics = list(json.loads(file.read_text()))
        if seen.scored(metrics, config, split, folder):
            return metrics
        report(f"The questions of '{split}' changed since '{file}' was written: scored anew.")
    questions = questions_of(config, split, folder, report)
    if not questions.answered:
        raise DataError(
            f"The split '{split}' of '{config.data.type}' has no answers: nothing can be "
            f"scored; choose another --split."
        )
    model = load_checkpoint(folder / "best").to(pick_device(config.training.device))
    shown = progress or unshown
    cache = config.training.cache
    evaluation = evaluate_questions(model, questions, None, False, cache, report, shown)
    evaluation.write(file.parent, pictures=False)
    return [metric.to_json() for metric in evaluation.metrics]


def winner(results: Sequence[Result]) -> tuple[Cell, float, int]:
    """A cell of the combination with the best mean over seeds, that mean, and of how many seeds."""
    values: dict[tuple[str, str], list[float]] = {}
    cells: dict[tuple[str, str], Cell] = {}
    for result in results:
        if result.value is not None:
            place = result.cell.encoder, result.cell.column
            values.setdefault(place, []).append(result.value)
            cells.setdefault(place, result.cell)
    best = max(values, key=lambda place: float(np.mean(values[place])))
    return cells[best], float(np.mean(values[best])), len(values[best])


def write_sweep(results: Sequence[Result], out: Path, metric: str, split: str, data: str) -> None:
    """`results.csv` (every run), `results.md` and `results.png` (mean and deviation over seeds)."""
    table: list[Sequence[object]] = [
        (
            *("encoder", "fusion", "head", "seed", "metric", "value", "questions", "split"),
            *("interval_low", "interval_high"),
        )
    ]
    for result in results:
        value = "" if result.value is None else f"{result.value:.6f}"
        cell = result.cell
        table.append(
            (
                cell.encoder,
                cell.fusion or "default",
                cell.head,
                cell.seed,
                metric,
                value,
                result.questions,
                split,
                *([f"{end:.6f}" for end in result.interval] if result.interval else ["", ""]),
            )
        )
    write_file(out / f"{RESULTS}.csv", csv_text(table).encode())

    rows = list(dict.fromkeys(result.cell.encoder for result in results))
    columns = list(dict.fromkeys(result.cell.column for result in results))
    mean = np.full((len(rows), len(columns)), np.nan)
    deviation = mean.copy()
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            values = [
                result.value
                for result in results
                if (result.cell.encoder, result.cell.column) == (row, column)
                and result.value is not None
            ]
            if values:
                mean[i, j] = np.mean(values)
                deviation[i, j] = np.std(values, ddof=1) if len(values) > 1 else 0.0
    seeds = len({result.cell.seed for result in results})
    over = f"{seeds} seeds" if seeds > 1 else "one seed"
    title = f"{metric} (%) on {data}, {split}: mean ± deviation over {over}"
    lines = [f"{title}. - means that the parts do not fit.", ""]
    lines += [f"| encoder | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    for i, row in enumerate(rows):
        cells = [
            "-" if np.isnan(m) else f"{100 * m:.2f} ± {100 * d:.2f}"
            for m, d in zip(mean[i], deviation[i], strict=True)
        ]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    write_file(out / f"{RESULTS}.md", ("\n".join(lines) + "\n").encode())
    if not np.isnan(mean).all():
        sweep_figure(mean, deviation, rows, columns, title, out / f"{RESULTS}.png")
