"""A search of settings by the tree-structured Parzen estimator (Bergstra et al. 2011, section 4).

Only the questions of validation choose. Every trial is an ordinary run folder. The sampler is
seeded and is told the scores in their order again, so that a search that was stopped goes on as
if it had not been, and a longer one begins with the trials of a shorter one. Imports torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqazoo.amounts import duration
from vqazoo.config import RunConfig, plain, read_toml, set_value
from vqazoo.data import open_dataset
from vqazoo.errors import IncompatibleError, missing_package
from vqazoo.files.csv_cells import csv_text
from vqazoo.files.writing import write_file
from vqazoo.keywords import names_keywords
from vqazoo.progress import Progress
from vqazoo.registry import registry
from vqazoo.training.loop import run_training
from vqazoo.training.run_folder import one_writer
from vqazoo.training.same_data import SameData
from vqazoo.training.settings import gather_config
from vqazoo.training.state import STATE
from vqazoo.training.sweep import RESULTS, finished, metric_of_cell, scored_metrics


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, by `step` or evenly in their logarithm; or `choices`."""

    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    choices: tuple[float, ...] = ()

    def draw(self, trial: Any, name: str) -> float | int:
        """A value of an optuna trial; three digits of what is drawn by logarithm."""
        if self.choices:
            value: float | int = trial.suggest_categorical(name, list(self.choices))
        elif isinstance(self.low, int):
            value = trial.suggest_int(name, self.low, int(self.high))
        elif self.step:
            value = trial.suggest_float(name, self.low, self.high, step=self.step)
        else:
            value = float(f"{trial.suggest_float(name, self.low, self.high, log=True):.3g}")
        return value

    def holds(self, value: float) -> bool:
        return value in self.choices if self.choices else self.low <= value <= self.high


DROPOUT = "head.args.dropout"  # of heads that have it
SPACE: dict[str, Range] = {  # docs/reference/training.md shows it, and a test compares them
    "training.learning_rate": Range(1e-4, 1e-2),
    "training.batch_size": Range(choices=(16, 32, 64, 128, 256)),
    "training.epochs": Range(5, 40),
    "training.weight_decay": Range(1e-3, 0.3),
    "training.warmup_epochs": Range(0.0, 2.0, step=0.5),
    "training.average": Range(choices=(0.0, 0.9, 0.99, 0.999)),
    DROPOUT: Range(0.0, 0.7, step=0.01),
}


@dataclass(frozen=True)
class Parts:
    """What may be combined; where there are several of a kind, they are searched too."""

    encoders: Sequence[str]
    fusions: Sequence[str]  # empty: each head's own
    heads: Sequence[str]

    def kinds(self) -> dict[str, Sequence[str]]:
        return {"encoder": self.encoders, "fusion": self.fusions or [""], "head": self.heads}


@dataclass
class Trial:
    """Parts, settings, and a score of each seed.

    Attributes:
        values: on the validation questions; empty: the parts do not fit together.
        tested: on the split that was named, of the best trial alone.
    """

    number: int
    parts: dict[str, str]
    settings: dict[str, float | int]
    values: list[float] = field(default_factory=list)
    tested: list[float] = field(default_factory=list)
    metric: str = ""
    questions: int = 0

    @property
    def mean(self) -> float | None:
        return sum(self.values) / len(self.values) if self.values else None

    def folder(self, out: Path, seed: int) -> Path:
        return out / f"trial{self.number:03}" / f"seed{seed}"


@names_keywords
def search(
    parts: Parts,
    trials: int,
    seeds: Sequence[int],
    out: Path,
    base: str | Path | Mapping[str, Any] | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    split: str = "",
    minutes: float | None = None,
    report: Callable[[str], None] = print,
    progress: Progress | None = None,
) -> list[Trial]:
    """Train and score `trials` of SPACE, the first with the defaults, and table each.

    Args:
        base, assignments, flags: as for `gather_config`. What they give is not searched.
        seeds: each trial is trained with all of them, and has their mean; the first one also
            seeds the sampler.
        split: scored once, with the best trial, at the end; empty: none.
        minutes: no trial begins later, but the first.

    Raises:
        WeightsError: optuna is not installed.
        VqazooError: data or files cannot be used, or `out` holds runs with other settings.
    """
    try:
        import optuna
    except ImportError as error:
        raise missing_package("A search of settings", "optuna", "search") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seeds[0])
    )

    def configured(trial: Trial, seed: int) -> RunConfig:
        named = {**trial.parts, "fusion": trial.parts["fusion"] or None, "seed": seed}
        drawn = [f"{name}={value}" for name, value in trial.settings.items()]
        return gather_config(base, [*assignments, *drawn], {**flags, **named}, by_rows=True)

    fixed = _given(base, assignments)
    first = Trial(1, {kind: names[0] for kind, names in parts.kinds().items()}, {})
    config = configured(first, seeds[0])
    if split:  # not only after the last training
        open_dataset(config.data.type, config.data.args).check_split(split)
    several = {kind: names[0] for kind, names in parts.kinds().items() if len(names) > 1}
    study.enqueue_trial({**several, **_defaults(config, fixed)})

    done: list[Trial] = []
    seen = SameData(progress)
    began = time.monotonic()
    with one_writer(out):
        for number in range(1, trials + 1):
            over = minutes is not None and time.monotonic() - began > 60 * minutes
            if over and number > 1:
                spent = duration(60 * (minutes or 0))
                report(f"{spent} are over: {number - 1} of {trials} trials are done.")
                break
            asked = study.ask()
            trial = _drawn(number, asked, parts, fixed)
            label = f"[{number}/{trials}] {told(trial)}"
            try:
                for seed in seeds:
                    folder, config = trial.folder(out, seed), configured(trial, seed)
                    if not finished(folder, config, seen):
                        report(f"{label}: training")
                        run_training(config, folder, (folder / STATE).exists(), report, progress)
                    scores = scored_metrics(folder, config, "", seen, report, progress)
                    metric = metric_of_cell(scores)
                    trial.values.append(metric["value"])
                    trial.metric, trial.questions = metric["name"], metric["questions"]
            except IncompatibleError as error:
                report(f"{label}: {error}")
                trial.values.clear()
                study.tell(asked, state=optuna.trial.TrialState.FAIL)
            else:
                report(f"{label}: {trial.metric} {trial.mean:.4f} on validation")
                study.tell(asked, trial.mean)
            done.append(trial)
            write_search(done, out, seeds, split)
        best = best_of(done)
        if split and best is not None:
            report(f"The best, trial {best.number}, is scored on '{split}'.")
            for seed in seeds:
                folder, config = best.folder(out, seed), configured(best, seed)
                metrics = scored_metrics(folder, config, split, seen, report, progress)
                best.tested.append(metric_of_cell(metrics)["value"])
            write_search(done, out, seeds, split)
    return done


def _given(
    base: str | Path | Mapping[str, Any] | None, assignments: Sequence[str]
) -> frozenset[str]:
    """Names of SPACE that the user sets, or that no longer say anything beside what is set."""
    tables = read_toml(Path(base)) if isinstance(base, (str, Path)) else plain(dict(base or {}))
    tables.pop("head", None)  # --heads takes its place
    for assignment in assignments:
        if assignment.partition("=")[0].strip().partition(".")[0] in ("training", "head"):
            set_value(tables, assignment)
    training, head = tables.get("training", {}), tables.get("head", {})
    given = {f"training.{name}" for name in training}
    given |= {f"head.args.{name}" for name in head.get("args", {})}
    if training.get("stages"):  # each has its own
        given |= {"training.epochs", "training.batch_size"}
    return frozenset(given)


def _searched(head: str, fixed: frozenset[str]) -> dict[str, Range]:
    """Of SPACE, what is open for a head."""
    has_dropout = "dropout" in registry.manifest("head", head).args
    return {
        name: span
        for name, span in SPACE.items()
        if name not in fixed and (name != DROPOUT or has_dropout)
    }


def _defaults(config: RunConfig, fixed: frozenset[str]) -> dict[str, Any]:
    """The values of SPACE that a config has; what lies outside of it is left to the sampler."""
    tables = plain(config)
    values: dict[str, Any] = {}
    for name, span in _searched(config.head.type, fixed).items():
        value = tables
        for key in name.split("."):
            value = value[key]
        if span.holds(value):
            values[name] = value
    return values


def _drawn(number: int, asked: Any, parts: Parts, fixed: frozenset[str]) -> Trial:
    """Parts and settings of an optuna trial."""
    chosen = {
        kind: names[0] if len(names) == 1 else asked.suggest_categorical(kind, list(names))
        for kind, names in parts.kinds().items()
    }
    spans = _searched(chosen["head"], fixed)
    settings = {name: span.draw(asked, name) for name, span in spans.items()}
    return Trial(number, chosen, settings)


def told(trial: Trial) -> str:
    """Parts and settings in one line."""
    parts = [name for name in trial.parts.values() if name]
    return ", ".join(
        [*parts, *(f"{n.rpartition('.')[2]} {v:g}" for n, v in trial.settings.items())]
    )


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The first trial with the highest mean on validation."""
    scored = [trial for trial in trials if trial.mean is not None]
    return max(scored, key=lambda trial: trial.mean or 0.0, default=None)


def cells_of_parts(trial: Trial) -> list[str]:
    """Encoder, fusion and head, as tables name them."""
    return [trial.parts["encoder"], trial.parts["fusion"] or "default", trial.parts["head"]]


def write_search(trials: Sequence[Trial], out: Path, seeds: Sequence[int], split: str) -> None:
    """`results.csv` (a line for each run, and each score of the best on the split), and
    `results.md` (the trials, best first)."""
    head = ["trial", "encoder", "fusion", "head", "seed", "metric", "value", "questions", "split"]
    table: list[Sequence[object]] = [[*head, *SPACE]]
    for trial in trials:
        parts = cells_of_parts(trial)
        settings = [trial.settings.get(name, "") for name in SPACE]
        for place, seed in enumerate(seeds):
            start = [trial.number, *parts, seed, trial.metric]
            value = f"{trial.values[place]:.6f}" if trial.values else ""
            table.append([*start, value, trial.questions, "validation", *settings])
            if trial.tested:
                table.append([*start, f"{trial.tested[place]:.6f}", "", split, *settings])
    write_file(out / f"{RESULTS}.csv", csv_text(table).encode())

    columns = [name.rpartition(".")[2] for name in SPACE]
    lines = [
        f"{len(trials)} trials, best first, by the questions of validation; trial 1 has the "
        f"defaults. - means that the parts do not fit.",
        "",
        f"| trial | validation (%) | encoder | fusion | head | {' | '.join(columns)} |",
        "| --- |" + " --- |" * (4 + len(columns)),
    ]
    for trial in sorted(trials, key=lambda trial: (-(trial.mean or -1.0), trial.number)):
        score = "-" if trial.mean is None else f"{100 * trial.mean:.2f}"
        settings = [f"{trial.settings[name]:g}" if name in trial.settings else "" for name in SPACE]
        parts = cells_of_parts(trial)
        lines.append(f"| {' | '.join(map(str, [trial.number, score, *parts, *settings]))} |")
    best = best_of(trials)
    if best is not None:
        lines += ["", f"Best: {best.folder(out, seeds[0])}."]
        if best.tested:
            mean = 100 * sum(best.tested) / len(best.tested)
            lines[-1] += f" On {split}, scored once: {best.metric} {mean:.2f}%."
    write_file(out / f"{RESULTS}.md", ("\n".join(lines) + "\n").encode())
