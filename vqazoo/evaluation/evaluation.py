"""The answers to a split, and what they score. Imports matplotlib and torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqazoo.errors import DataError, UnknownNameError, did_you_mean
from vqazoo.evaluation.checks.figure import CHECKS_FIGURE, checks_figure
from vqazoo.evaluation.metric import Metric, by_name
from vqazoo.evaluation.results import write_results
from vqazoo.evaluation.tables import Predictions
from vqazoo.files.replacing import replaced_files
from vqazoo.files.writing import METRICS, json_bytes, write_file


@dataclass(frozen=True)
class Evaluation:
    """The answers to a split, and what they score.

    Attributes:
        model: what answered: its reference, parts and config digest, and how it was asked; empty
            for answers of others.
        data, split: names as in the signatures of the metrics.
        metrics: each with its signature; empty where no question has an answer of people.
        predictions: the answers with their questions: a sequence of dicts with `to_csv`,
            `to_pandas`, `examples` and `answers`.
        plain: of a calibrated model, the head's own scores of the answers.
        checks: what the score rests on, if that was asked for; see `vqazoo.evaluation.checks`.
    """

    model: str
    data: str
    split: str
    metrics: tuple[Metric, ...]
    predictions: Predictions
    plain: tuple[float, ...] = ()
    checks: tuple[Metric, ...] = ()

    def metric(self, name: str) -> Metric:
        """The metric of a name, such as `accuracy`.

        Raises:
            UnknownNameError: it was not measured.
            DataError: nothing was, since the split has no answers.
        """
        metrics = {metric.name: metric for metric in (*self.metrics, *self.checks)}
        if not metrics:
            raise self.unanswered()
        if name not in metrics:
            raise UnknownNameError(
                f"The metric {name!r} was not measured.{did_you_mean(name, metrics)} "
                f"Measured were {', '.join(metrics)}."
            )
        return metrics[name]

    def unanswered(self) -> DataError:
        """What to raise where scores are needed, but no question has an answer of people."""
        return DataError(
            f"The split '{self.split}' of '{self.data}' has no answers: nothing can be scored."
        )

    def to_json(self) -> Mapping[str, dict[str, Any]]:
        """The metrics under their names, as `vqazoo eval --json` prints them."""
        return by_name((*self.metrics, *self.checks))

    def write(self, folder: str | Path, pictures: bool = True, seed: int = 0) -> None:
        """Write what `vqazoo eval --out` does: predictions, `metrics.json` and pictures; where
        `metrics.json` is, all are of the same evaluation.

        Args:
            pictures: whether to draw the answers, the confusions, risk against coverage, and the
                checks.
            seed: chooses the questions in the picture of answers.

        Raises:
            DataError: the folder cannot be written.
        """
        out = Path(folder).expanduser()
        examples, answers = self.predictions.examples, self.predictions.answers
        try:
            out.mkdir(parents=True, exist_ok=True)
            with replaced_files(out, METRICS, DataError) as fresh:
                write_results(fresh, self.data, examples, answers, seed, pictures, self.plain)
                if self.checks and pictures:
                    checks_figure(self.checks, fresh / CHECKS_FIGURE)
                if self.metrics:
                    measured = (*self.metrics, *self.checks)
                    content = json_bytes([metric.to_json() for metric in measured])
                    write_file(fresh / METRICS, content)
        except OSError as error:
            raise DataError(
                f"The results cannot be written to '{out}' ({error}): name another folder."
            ) from error
