"""Metrics as parts: what one declares, and the contract of the class that computes it.

A metric is a number, or several, made of the given answers and those of people. Imports only the
standard library.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vqazoo.errors import PluginError
from vqazoo.manifests import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vqazoo.data import Example
    from vqazoo.interfaces import Answer

DIRECTIONS = ("higher", "lower", "neither")  # which is better
NEEDS = ("choices", "answer_type", "question_type", "group", "answerable")  # fields of an Example


@dataclass(frozen=True, kw_only=True)
class MetricManifest(Manifest):
    """What a metric says about itself; `build` names an AnswerMetric.

    Attributes:
        signature: how it scores, for signatures, such as `references:all|threshold:0.5`.
        values: the names of its numbers, and whether `higher` or `lower` is better, or `neither`;
            an empty name is the metric's own.
        needs: fields that every question must have, out of `choices`, `answer_type`,
            `question_type`, `group`, `answerable`. Answers of people are always there.
    """

    signature: str
    values: Mapping[str, str] = field(default_factory=lambda: {"": "higher"})
    needs: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Raises PluginError: a field holds what it cannot hold."""
        super().__post_init__()
        if isinstance(self.needs, str) or set(self.needs) - set(NEEDS):
            raise self._unexpected("needs", f"a set out of {', '.join(map(repr, NEEDS))}")
        object.__setattr__(self, "needs", frozenset(self.needs))
        if (
            not isinstance(self.values, Mapping)
            or not self.values
            or set(self.values.values()) - set(DIRECTIONS)
        ):
            raise self._unexpected(
                "values", f"a table of names with {' or '.join(map(repr, DIRECTIONS))}"
            )
        if not isinstance(self.signature, str) or not self.signature or " |" in self.signature:
            raise self._unexpected("signature", "a text such as 'references:all|threshold:0.5'")

    def _unexpected(self, name: str, expected: str) -> PluginError:
        return PluginError(
            f"The MetricManifest ({self.summary!r}) has {name}={getattr(self, name)!r}, but "
            f"{expected} was expected."
        )


class AnswerMetric(ABC):
    """Scores given answers.

    A subclass is built as `Cls(**args)` with the manifest's arguments. One that cannot work, such
    as without a file, raises a DataError in its constructor, before any question is asked.
    """

    def undefined(self, examples: Sequence[Example]) -> str:
        """Why the metric says nothing about these questions, as a part of a sentence; empty: it
        does."""
        return ""

    @abstractmethod
    def measure(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> Mapping[str, NDArray[np.float64] | float]:
        """The numbers under the names of the manifest; one that is undefined here is left out.

        Args:
            examples: n questions, each with answers of people; answers: n given ones.

        Returns:
            (n,) scores of the questions, whose mean is the number and has an interval, nan where a
            question does not count; or the number itself.

        Raises:
            DataError: what is needed is not there.
        """
