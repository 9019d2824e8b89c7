"""What `vqazoo compare --cost` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqazoo.amounts import count, duration, percent, size
from vqazoo.cli.output import print_table, say

if TYPE_CHECKING:
    from vqazoo.zoo.cost import Costs


def print_costs(costs: Costs, data: str, split: str, device: str) -> None:
    """A row for each figure, a column for each model."""
    columns = costs.columns
    rows = [
        ("model", *(column.reference for column in columns)),
        (columns[0].metric, *(percent(column.score) for column in columns)),
        ("95% interval", *(f"[{', '.join(map(percent, c.interval))}]" for c in columns)),
        ("a question, p50", *(duration(column.p50) for column in columns)),
        ("a question, p95", *(duration(column.p95) for column in columns)),
        ("1,000 questions", *(duration(column.per_thousand) for column in columns)),
    ]
    if columns[0].money is not None:
        rows.append(("money for 1,000", *(f"{column.money or 0:.4f}" for column in columns)))
    rows.append(("peak memory", *(size(column.memory) for column in columns)))
    if any(column.accelerator for column in columns):
        rows.append(("peak on the GPU", *(size(column.accelerator) for column in columns)))
    rows += [
        ("parameters", *(count(column.parameters) for column in columns)),
        ("bytes of these", *(size(column.bytes) for column in columns)),
    ]
    say(
        f"{costs.questions:,} questions of {data}, {split} ({costs.pictures:,} pictures), one "
        f"after the other on {device}, each model in a process of its own"
    )
    print_table(("", "first", "second"), rows, right=("first", "second"))
    say(costs.verdict)
