"""What a reader makes of a user's own file or folder, before anything is learnt from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqazoo.data.examples import Example


@dataclass(frozen=True)
class LookedSplit:
    """A split: its examples with the lines or rows they stand in, and what is wrong elsewhere.

    Attributes:
        file: what was read; unit: what `places` count, `line` or `row`.
        wrong: the place and what is wrong, of rows that cannot be used.
    """

    file: Path
    unit: str
    examples: Sequence[Example]
    places: Sequence[int]
    wrong: Sequence[tuple[int, str]]


@dataclass(frozen=True)
class FirstLook:
    """How data of a user are read.

    Attributes:
        dataset: the reader's name; args: its arguments, of which those in the manifest's `paths`
            are as on this machine.
        columns: of each argument the column that is read for it.
        splits: what was read, by split.
        notes: what was done that a user may want to know, a sentence each.
        made: files that are written with the config: a table to fill in.
    """

    dataset: str
    args: Mapping[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, LookedSplit] = field(default_factory=dict)
    notes: Sequence[str] = ()
    made: Mapping[Path, str] = field(default_factory=dict)
