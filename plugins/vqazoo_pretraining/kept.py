"""What the stages of a long run wrote so far, a line for each batch of values. Imports torch.

Lines are appended; one that a kill cut off is written anew. Each has a digest of itself and of all
before it, and of the run's options and data, so that what was changed is noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from vqazoo.errors import TrainingError
from vqazoo.files.json_text import json_text
from vqazoo.training.engine import Engine
from vqazoo.training.run_folder import writing
from vqazoo.training.step_run import StepRun


class KeptValues:
    """Lists of values by the name of their stage; each process knows all of them."""

    def __init__(self, file: Path, run: StepRun, engine: Engine) -> None:
        """Read what a resumed run has; of a new one, forget what lies there.

        Raises:
            TrainingError: a line was changed, or the file cannot be read.
        """
        self._file, self._engine = file, engine
        self._values: dict[str, list[Any]] = {}
        self._chain = run.digest
        self._whole = 0  # bytes of whole lines
        if run.position is not None:
            self._read()
        elif engine.first:
            with writing(file.parent):
                file.unlink(missing_ok=True)

    def values(self, stage: str) -> list[Any]:
        return self._values.get(stage, [])

    def whole(self, stage: str, count: int) -> bool:
        """Whether a stage has all its values."""
        return len(self.values(stage)) == count

    def fill(
        self, stage: str, count: int, batch: int, compute: Callable[[int, int], list[Any]]
    ) -> None:
        """Compute the values of a stage that are not there yet, batch by batch, and keep them.

        Several processes compute a batch each, which the first one writes in their order.

        Args:
            compute: gives the values from one place to another.
        """
        while (at := len(self.values(stage))) < count:
            start = at + self._engine.rank * batch
            rest = min(start + batch, count)
            own = compute(start, rest) if start < rest else []
            for values in self._of_all(own):
                if values:
                    self._append(stage, values)

    def _of_all(self, own: list[Any]) -> list[list[Any]]:
        if self._engine.processes == 1:
            return [own]
        every: list[Any] = [None] * self._engine.processes
        dist.all_gather_object(every, own)
        return every

    def _append(self, stage: str, values: list[Any]) -> None:
        at = len(self.values(stage))
        line = {"stage": stage, "at": at, "values": values}
        self._chain = _next(self._chain, line)
        if self._engine.first:
            content = json_text({**line, "digest": self._chain}, ascii_only=True).encode() + b"\n"
            mode = "r+b" if self._whole else "wb"
            with writing(self._file.parent), open(self._file, mode) as out:
                out.truncate(self._whole)  # what a kill cut off
                out.seek(self._whole)
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            self._whole += len(content)
        self._values.setdefault(stage, []).extend(values)

    def _read(self) -> None:
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise TrainingError(
                f"'{self._file}' cannot be read ({error}): restore it, or start anew in another "
                f"folder."
            ) from error
        *lines, _ = content.split(b"\n")  # the last one was cut off, or is empty
        for number, text in enumerate(lines, start=1):
            try:
                line = json.loads(text)
                digest = line.pop("digest")
                values = self._values.setdefault(line["stage"], [])
                self._chain = _next(self._chain, line)
                if digest != self._chain or line["at"] != len(values):
                    raise ValueError("its digest differs")
                values += line["values"]
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise TrainingError(
                    f"Line {number} of '{self._file}' was changed since it was written ({error}), "
                    f"so the run cannot go on from it: delete that line and those after it to "
                    f"repeat what they hold."
                ) from error
            self._whole += len(text) + 1


def _next(chain: str, line: dict[str, Any]) -> str:
    said = f"{chain} {json_text(line, ascii_only=True, sort_keys=True)}"
    return hashlib.sha256(said.encode()).hexdigest()
