"""Questions with answers of people, and given answers, for the tests of metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vqazoo.data import Example
from vqazoo.interfaces import Answer
from vqazoo.registry import registry


def example(number: int, *answers: str, **more: Any) -> Example:
    return Example(Path(f"{number}.png"), "what?", answers, more.pop("id", f"q{number}"), **more)


def measured(name: str, rows: list[tuple[Any, str]], **args: Any) -> dict[str, Any]:
    """What a metric gives of (answers of people, or an example; given answer), means of arrays."""
    examples = [
        told if isinstance(told, Example) else example(number, *told)
        for number, (told, _) in enumerate(rows)
    ]
    metric = registry.build("metric", name, **args)
    assert metric.undefined(examples) == ""
    values = metric.measure(examples, [Answer(given, 1.0) for _, given in rows])
    return {
        key: float(np.nanmean(value)) if isinstance(value, np.ndarray) else value
        for key, value in values.items()
    }
