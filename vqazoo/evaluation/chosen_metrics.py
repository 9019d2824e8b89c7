"""Metrics that are parts: those that a dataset has of its own, and those that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vqazoo.data import Example
from vqazoo.errors import DataError, PluginError
from vqazoo.evaluation.metric import Measure, Metric
from vqazoo.fault_sentences import raised_named
from vqazoo.interfaces import Answer
from vqazoo.metrics import AnswerMetric, MetricManifest
from vqazoo.registry import registry

Chosen = Mapping[str, Mapping[str, Any]]  # names of metrics with their arguments
NUMBERS = "fiub"  # kinds of dtypes that are
EMPTY = ("", (), None)  # what a field of a question holds where it has none


@dataclass(frozen=True)
class _Built:
    name: str
    manifest: MetricManifest
    metric: AnswerMetric


def build_metrics(chosen: Chosen) -> list[_Built]:
    """The metrics that are asked for, built.

    Raises:
        UnknownNameError, ConfigError, PluginError: a name, an argument or the plugin is wrong.
        DataError: a metric lacks what it needs, such as a file.
    """
    return [_build(name, args) for name, args in chosen.items()]


def chosen_metrics(
    measure: Measure,
    answers: Sequence[Answer],
    chosen: Chosen,
    own: Sequence[str],
    report: Callable[[str], None],
) -> Iterator[Metric]:
    """Yields the numbers of the metrics.

    Args:
        measure: of the questions that the answers are to.
        chosen: what is asked for; own: names of those of the dataset, which are left out, and
            reported, where they cannot be computed.

    Raises:
        DataError: what is asked for cannot be computed for these questions.
        UnknownNameError, ConfigError, PluginError: as `build_metrics`.
    """
    asked = build_metrics(chosen)
    names = {built.name for built in asked}
    for name in own:
        if name in names:
            continue
        try:
            values = list(_values(_build(name, {}), measure, answers, report))
        except DataError as error:
            report(f"Left out {name}: {error}")
            continue
        yield from values
    for built in asked:
        yield from _values(built, measure, answers, report)


def _build(name: str, args: Mapping[str, Any]) -> _Built:
    name = registry.canonical("metric", name)
    metric: AnswerMetric = registry.build("metric", name, **args)
    return _Built(name, registry.manifest("metric", name), metric)


def _values(
    built: _Built, measure: Measure, answers: Sequence[Answer], report: Callable[[str], None]
) -> Iterator[Metric]:
    examples = measure.examples
    owner = f"The metric '{built.name}'"
    with raised_named(owner, "undefined"):
        why = _lacking(built, examples) or built.metric.undefined(examples)
    if why:
        raise DataError(f"'{built.name}' is not defined for these questions: {why}.")
    how = built.manifest.signature
    with raised_named(owner, "measure"):
        measured = built.metric.measure(examples, answers)
    if not isinstance(measured, Mapping):
        raise PluginError(
            f"{owner} gives a {type(measured).__name__} from measure, but numbers under the names "
            f"of its manifest were expected: give a dict of them."
        )
    for name, value in measured.items():
        if name not in built.manifest.values:
            raise PluginError(
                f"The metric '{built.name}' gives {name!r}, which is none of the values of its "
                f"manifest ({', '.join(map(repr, built.manifest.values))}): name it there."
            )
        better = built.manifest.values[name]
        full = name or built.name
        for metric in _metric(measure, full, value, how, built.name):
            yield replace(metric, better=better)
    for name in built.manifest.values:
        if name not in measured:
            report(f"Left out {name or built.name}: it is not defined for these answers.")


def _metric(measure: Measure, name: str, value: Any, how: str, owner: str) -> Iterator[Metric]:
    if not isinstance(value, np.ndarray):
        with raised_named(f"The metric '{owner}'", "measure"):
            number = float(value)
        if not np.isfinite(number):
            raise PluginError(
                f"The metric '{owner}' gives {number} as {name!r}, but a number was expected: "
                f"leave out what is not defined."
            )
        yield from measure.metric(name, number, how)
        return
    if value.dtype.kind not in NUMBERS:
        raise PluginError(
            f"The metric '{owner}' gives an array of {value.dtype} as {name!r}, but numbers were "
            f"expected: give np.float64."
        )
    if value.shape != (len(measure.examples),):
        raise PluginError(
            f"The metric '{owner}' gives {value.shape} scores as {name!r}, but one for each of "
            f"{len(measure.examples):,} questions was expected."
        )
    rows = np.flatnonzero(~np.isnan(value)).tolist()
    scores = value[rows].astype(np.float64)
    if not rows or not np.isfinite(scores).all():
        raise PluginError(
            f"The metric '{owner}' scores no question as {name!r}, or without end: leave out what "
            f"is not defined."
        )
    if scores.min() >= 0 and scores.max() <= 1:
        yield from measure.with_interval(name, scores, how, rows)
    else:  # the intervals are of shares
        yield from measure.metric(name, float(scores.mean()), how, len(rows))


def _lacking(built: _Built, examples: Sequence[Example]) -> str:
    for need in sorted(built.manifest.needs):
        without = sum(getattr(example, need) in EMPTY for example in examples)
        if without:
            return (
                f"it needs {need.replace('_', ' ')} of every question, which {without:,} of "
                f"{len(examples):,} do not have"
            )
    return ""
