"""The folder of a run that is counted in steps: its options, its data, where it stands.

`vqazoo pretrain`, `capfilt` and `pretrain-tiny-clip` make such runs; those of `vqazoo train` count
epochs. Imports torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqazoo.errors import TrainingError
from vqazoo.files.json_text import json_text
from vqazoo.training.run_folder import writing
from vqazoo.training.state import STATE
from vqazoo.training.state_file import StateFile, read_place

OPTIONS, POSITION, MARKS = WORDS = ("options", "position", "data")
LEFT = "what it saved beside it is whole"


@dataclass
class StepPosition:
    """Where such a run stands.

    Attributes:
        stage: which of several trainings, as the verb names them.
        step: steps that are done; seconds: that they took.
        sums: of each loss since the last line of the log.
        counters: what the subject counts besides.
        scaler: of fp16.
    """

    stage: str = ""
    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    counters: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)


class StepRun:
    """A run folder, begun or gone on with.

    Attributes:
        position: where the run stands; at the start of a new one, None.
    """

    def __init__(self, out: Path, options: Mapping[str, Any], resume: bool) -> None:
        """`options` decide the result; as JSON knows them.

        Raises:
            TrainingError: `out` holds a run that is not to be resumed, none that is, one of other
                options, or a state that cannot be read or was changed.
        """
        self.out = out
        self._state = _state(out)
        self._options = json_text(dict(options), sort_keys=True)
        self._data = ""
        self._tensors: dict[str, Tensor] = {}
        self.position: StepPosition | None = None
        held = (out / STATE).exists()
        if held and not resume:
            raise TrainingError(
                f"'{out}' already holds a run: add --resume to go on with it, or choose another "
                f"--out."
            )
        if resume and not held:
            raise TrainingError(
                f"There is no run to resume in '{out}' (no {STATE}): leave out --resume or check "
                f"--out."
            )
        if resume:
            _check_options(out, options)
            self._tensors = self._state.tensors()
            self.position = _position(self._state)

    @property
    def seconds(self) -> float:
        """That its steps took, of all processes that worked on it one after the other."""
        return 0.0 if self.position is None else self.position.seconds

    @property
    def digest(self) -> str:
        """Of options and data, by which files beside the state know whose they are."""
        return hashlib.sha256(json_text([self._options, self._data]).encode()).hexdigest()

    def know_data(self, now: Mapping[str, tuple[int, str]]) -> None:
        """Remember what the run learns from: how many there are of each kind, and their digest.

        Raises:
            TrainingError: a resumed run began with others.
        """
        self._data = json_text({name: list(facts) for name, facts in now.items()}, sort_keys=True)
        if self.position is None:
            return
        with self._state.reading():
            before = dict(json.loads(self._state.words()[MARKS]))
            changed = [
                f"the {name} ({before[name][0]:,} before, {count:,} now)"
                if before[name][0] != count
                else f"the {name} ({count:,} as before)"
                for name, (count, digest) in now.items()
                if before[name] != [count, digest]
            ]
        if changed:
            raise TrainingError(
                f"The data differ from those that the run in '{self.out}' began with: "
                f"{', '.join(changed)}; some were added, left out, changed or moved. Restore the "
                f"files to go on, or start anew in another folder."
            )

    def save(self, position: StepPosition, tensors: Mapping[str, Tensor]) -> None:
        """Write the state, replaced in one step.

        Raises:
            TrainingError: the disk is full; the state of before stays.
        """
        self.position = position
        words = json_text(asdict(position)), self._data
        with writing(self.out):
            self._state.write(tensors, dict(zip(WORDS, (self._options, *words), strict=True)))

    def reading(self) -> AbstractContextManager[None]:
        """Turn what a garbled state does into one sentence."""
        return self._state.reading()

    def restore(self, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Fill the named tensors with those of the state; whatever else it holds, by name.

        Raises:
            TrainingError: one is missing, or has another shape.
        """
        stored = dict(self._tensors)
        with torch.no_grad():
            for name, tensor in kept.items():
                other = stored.pop(name, None)
                if other is None or other.shape != tensor.shape:
                    shape = "not" if other is None else f"as {tuple(other.shape)}"
                    raise TrainingError(
                        f"'{self.out / STATE}' holds '{name}' {shape}, but this run has it as "
                        f"{tuple(tensor.shape)}, so the run cannot go on: what it is built from "
                        f"has changed. Restore that, or start anew in another folder."
                    )
                tensor.copy_(other)
        return stored


def holds_run(out: Path) -> bool:
    """Whether there is a run in a folder that `--resume` goes on with."""
    return (out / STATE).is_file()


def saved_options(out: Path) -> dict[str, Any]:
    """The options of the run in a folder; none if there is no run.

    Raises:
        TrainingError: its state cannot be read.
    """
    if not holds_run(out):
        return {}
    state = _state(out)
    with state.reading():
        return dict(json.loads(state.words()[OPTIONS]))


def _state(out: Path) -> StateFile:
    return StateFile(out / STATE, WORDS, LEFT)


def _check_options(out: Path, options: Mapping[str, Any]) -> None:
    before, now = saved_options(out), json.loads(json_text(dict(options)))
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differing:
        name = differing[0]
        raise TrainingError(
            f"The options differ from those of the run in '{out}' ({name} is {now.get(name)!r}, "
            f"but was {before.get(name)!r}), so the run cannot go on: give only --resume and "
            f"--out, or start anew in another folder."
        )


def _position(state: StateFile) -> StepPosition:
    with state.reading():
        return read_place(StepPosition, state.words()[POSITION])
