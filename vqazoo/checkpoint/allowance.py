"""The bound on the parts of a checkpoint, whose config may be a stranger's. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vqazoo.config import ModelConfig
from vqazoo.errors import CheckpointError
from vqazoo.files.reading import memory
from vqazoo.files.writing import BLOCKS, WEIGHTS
from vqazoo.toolkit.allowance import MANY_TENSORS, Bound, Stored, little_more


class Allowance(Bound):
    """The bound on the parts of a checkpoint.

    Args:
        what: is built, for the message.
        stored: the tensors that the checkpoint holds for it: little more may be made. None: it is
            as large as its own repository says, so that the machine's memory is the bound.
        config, where: what is built from, and its file.
        unfilled: see `Bound`.

    Raises:
        CheckpointError: on the tensor that is one too many or too large.
    """

    def __init__(
        self,
        what: str,
        stored: Mapping[str, Tensor] | None,
        config: ModelConfig,
        where: Path,
        unfilled: bool = False,
    ) -> None:
        if stored is None:
            what = f"{what} than this machine has memory for"
            most = Stored(memory(), MANY_TENSORS)
        else:
            what = f"{what} than {WEIGHTS} holds tensors for"
            most = little_more(Stored(sum(t.nbytes for t in stored.values()), len(stored)))
        super().__init__(
            most,
            lambda: CheckpointError(
                f"'{where}' asks for {what} ({largest_number(config)}): do not "
                f"trust the folder, or get it again."
            ),
            unfilled,
        )


def largest_number(config: ModelConfig) -> str:
    """The largest number among the arguments, which is probably the wrong one."""
    given = {f"{w}.args.{k}": v for w in BLOCKS for k, v in getattr(config, w).args.items()}
    numbers = [(value, name) for name, value in given.items() if type(value) is int]
    return "{1} is {0:,}".format(*max(numbers)) if numbers else "no argument is a number"
