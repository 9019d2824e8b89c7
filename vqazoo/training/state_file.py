"""A file from which work goes on: tensors and words, with a digest of both. Imports torch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vqazoo.errors import CheckpointError, TrainingError
from vqazoo.files.digests import tensor_digest
from vqazoo.files.tensors_bytes import safetensors_bytes
from vqazoo.files.tensors_header import read_tensors_header
from vqazoo.files.writing import write_file
from vqazoo.version import __version__

STANDS = TypeVar("STANDS", bound=Any)  # a dataclass
FILE_DIGEST = "digest"  # of all the rest, in the file's metadata


class StateFile:
    """Replaced in one step, so that a kill or a full disk leaves the one of before."""

    def __init__(self, file: Path, words: Sequence[str], left: str) -> None:
        """`words`: names of what it tells besides tensors; `left`: end of a sentence about a broken
        one, what there is instead."""
        self.file, self.names, self.left = file, words, left

    def write(self, tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> None:
        """Raises OSError: the disk is full; the file of before stays."""
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        digest = self._digest(kept, words)
        write_file(self.file, safetensors_bytes(kept, {**words, FILE_DIGEST: digest}))

    def words(self) -> dict[str, str]:
        """Raises TrainingError: it cannot be read."""
        with self.reading():
            read_tensors_header(self.file)  # of a plain file: a pipe would be waited for
            with safe_open(self.file, "pt") as state:
                words = dict(state.metadata() or {})
            return {name: words[name] for name in (*self.names, FILE_DIGEST)}

    def tensors(self) -> dict[str, Tensor]:
        """Everything in it, compared with its digest.

        Raises:
            TrainingError: it cannot be read, or was changed since it was written.
        """
        words = self.words()
        with self.reading(), safe_open(self.file, "pt") as state:
            tensors = {name: state.get_tensor(name) for name in state.keys()}  # noqa: SIM118
        if words[FILE_DIGEST] != self._digest(tensors, words):
            raise TrainingError(
                f"'{self.file}' was changed since it was written (its digest differs), so the run "
                f"cannot go on from it: check the disk; {self.left}."
            )
        return tensors

    def _digest(self, tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> str:
        return tensor_digest(tensors, *(words[name] for name in self.names))

    def reading(self) -> AbstractContextManager[None]:
        """Turn what a garbled file does into one sentence."""
        return reading_state(self.file, self.left)


def read_place(kind: type[STANDS], text: str) -> STANDS:
    """Where a run stands, of a state's words. A name that is absent, of an earlier release, has its
    default.

    Args:
        kind: a dataclass with defaults.
        text: JSON of its fields.

    Raises:
        ValueError: it is no table of these, or has a name or type of value that they have not.
    """
    told, known = json.loads(text), asdict(kind())
    if not isinstance(told, dict):
        raise ValueError(f"its position is {told!r:.60}, but a table was expected")
    if unknown := sorted(told.keys() - known.keys()):
        raise ValueError(
            f"its position tells '{unknown[0]}', which vqazoo {__version__} does not know: a newer "
            f"release may have written it"
        )
    for name, value in told.items():
        kinds = (int, float) if isinstance(known[name], float) else (type(known[name]),)
        if type(value) not in kinds:
            raise ValueError(f"'{name}' of its position is {value!r:.60}")
    return kind(**told)


@contextlib.contextmanager
def reading_state(file: Path, left: str) -> Iterator[None]:
    """Turn what a garbled state does into one sentence, which ends with what there is instead."""
    try:
        yield
    except (
        CheckpointError,
        SafetensorError,
        OSError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:
        said = str(error) or type(error).__name__
        raise TrainingError(
            f"'{file}' cannot be read ({said}): the run cannot be resumed; {left}."
        ) from error
