"""What a fit on validation questions found: temperatures and thresholds, a block of config.json.

Imports only the standard library.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any

LOWEST, HIGHEST = 1 / 64, 64.0  # temperatures that a fit gives
COLDEST, HOTTEST = 0.001, 1000.0  # those that are read; beyond, scores are no numbers
MOST_KNOTS = 100  # of a curve
MOST_TYPES = 1000  # answer types with a temperature of their own
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Calibration:
    """How the scores of a model become probabilities of being right, see `vqazoo.calibrate`.

    Answers and their order never depend on it.

    Attributes:
        answers: temperature of the scores of answers: of a softmax over the answer list, else of
            each score by itself, sigmoid(logit(score) / T).
        types: temperatures in its place, by the `Answer.answer_type` that the head gives.
        curve: where a temperature does not suffice: places and values, rising from 0 to 1, between
            which lines map the score of an answer, after its temperature, to what it is right in.
            Of a softmax that is the best one; the others share what is left.
        answerable: temperature of `Answer.answerable`.
        choices: temperature of a softmax over given options, of their log-scores.
        thresholds: by the risk, such as 0.05: the calibrated score from which on at most that share
            of the answers was wrong on the validation questions, with 95% confidence; None: no
            score keeps that risk.
        fitted: on what, and how well: `data`, `split`, `rows`, `pictures`, `date`, `before` and
            `after` with `calibration_error` and `negative_log_likelihood`, and so on.
    """

    answers: float = 1.0
    types: Mapping[str, float] = field(default_factory=dict)
    answerable: float = 1.0
    choices: float = 1.0
    thresholds: Mapping[float, float | None] = field(default_factory=dict)
    fitted: Mapping[str, Any] = field(default_factory=dict)
    curve: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError: a temperature is no number from 0.001 to 1000, a threshold or risk is
        no probability, or the curve does not rise."""
        if self.curve:
            _check_curve(self.curve)
        named = {"answers": self.answers, "answerable": self.answerable, "choices": self.choices}
        for name, value in (*named.items(), *self.types.items()):
            if not (_is_number(value) and COLDEST <= value <= HOTTEST):
                raise ValueError(
                    f"the temperature of '{name}' is {value!r:.60}, not from {COLDEST} to "
                    f"{HOTTEST:g}"
                )
        for risk, score in self.thresholds.items():
            if not 0 < risk < 1:
                raise ValueError(f"the risk {risk!r} is not between 0 and 1")
            if score is not None and not (_is_number(score) and 0 <= score <= 1):
                raise ValueError(f"the threshold of the risk {risk} is {score!r}, not in [0, 1]")

    def temperature(self, answer_type: str | None = None) -> float:
        """Of the scores of answers of that type."""
        return self.types.get(answer_type, self.answers) if answer_type else self.answers

    def to_json(self) -> dict[str, Any]:
        """The block of config.json."""
        temperatures = {"answers": self.answers, "types": dict(self.types)}
        others = {"answerable": self.answerable, "choices": self.choices}
        return {
            "temperatures": {**temperatures, **others},
            **({"curve": [list(knot) for knot in self.curve]} if self.curve else {}),
            "thresholds": {f"{risk:g}": score for risk, score in self.thresholds.items()},
            "fitted": dict(self.fitted),
        }

    @classmethod
    def from_json(cls, said: Any) -> Calibration:
        """What `to_json` wrote. Keys of later releases are ignored.

        Raises:
            ValueError: a value is of another type, or out of bounds.
        """
        if not isinstance(said, Mapping):
            raise ValueError(f"it is {str(said)[:60]!r}, but a table was expected")
        temperatures = _table(said, "temperatures")
        types = _table(temperatures, "types")
        if len(types) > MOST_TYPES:
            raise ValueError(f"it has {len(types):,} types of answers, more than {MOST_TYPES:,}")
        thresholds: dict[float, float | None] = {}
        for risk, score in _table(said, "thresholds").items():
            try:
                thresholds[float(risk)] = score
            except ValueError as error:
                raise ValueError(f"the risk {risk[:60]!r} is no number") from error
        return cls(
            temperatures.get("answers", 1.0),
            dict(types),
            temperatures.get("answerable", 1.0),
            temperatures.get("choices", 1.0),
            thresholds,
            dict(_table(said, "fitted")),
            _knots(said.get("curve", [])),
        )


def _knots(said: Any) -> tuple[tuple[float, float], ...]:
    pairs = isinstance(said, list) and all(isinstance(k, list) and len(k) == 2 for k in said)
    if not pairs or len(said) > MOST_KNOTS:
        raise ValueError(
            f"'curve' is {str(said)[:60]!r}, but a list of at most {MOST_KNOTS} pairs was expected"
        )
    return tuple((place, value) for place, value in said)


def _check_curve(curve: tuple[tuple[float, float], ...]) -> None:
    numbers = [number for knot in curve for number in knot]
    if not all(_is_number(number) and 0 <= number <= 1 for number in numbers):
        raise ValueError("the curve has a place or value that is not in [0, 1]")
    steps = list(pairwise(curve))
    rises = all(x0 < x1 and y0 <= y1 for (x0, y0), (x1, y1) in steps)
    if not steps or not rises or curve[0][0] != 0 or curve[-1][0] != 1:
        raise ValueError("the curve does not rise from 0 to 1")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # not nan or infinity, and no whole number beyond


def _table(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = said.get(name, NOTHING)
    if not isinstance(value, Mapping):
        raise ValueError(f"'{name}' is {str(value)[:60]!r}, but a table was expected")
    return value
