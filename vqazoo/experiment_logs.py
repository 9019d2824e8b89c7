"""Epoch lines sent to TensorBoard, trackio or Weights & Biases, besides log.jsonl.

The packages are optional extras and imported only when a config names them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqazoo.errors import TrainingError

PACKAGES = {"tensorboard": "torch.utils.tensorboard", "trackio": "trackio", "wandb": "wandb"}
PROJECT = "vqazoo"

Write = Callable[[Mapping[str, float]], None]


class ExperimentLogs:
    """Writers of the named loggers; each gets the numbers of every epoch line."""

    def __init__(self, names: Sequence[str], out: Path, config: Mapping[str, Any]) -> None:
        """Raises TrainingError if a package is not installed."""
        self._writers: list[Write] = []
        self._closers: list[Callable[[], Any]] = []
        for name in dict.fromkeys(names):
            module = _module(name)
            if name == "tensorboard":
                board = module.SummaryWriter(str(out / "tensorboard"))
                self._writers.append(_to_board(board))
                self._closers.append(board.close)
            else:  # trackio has the same functions as wandb
                module.init(project=PROJECT, name=out.name, config=dict(config))
                self._writers.append(lambda line, log=module.log: log(dict(line)))  # type: ignore[misc]
                self._closers.append(module.finish)

    def write(self, line: Mapping[str, Any]) -> None:
        numbers = {key: value for key, value in line.items() if isinstance(value, (int, float))}
        for write in self._writers:
            write(numbers)

    def close(self) -> None:
        for close in self._closers:
            close()


def _module(name: str) -> Any:
    try:
        return importlib.import_module(PACKAGES[name])
    except ImportError as error:
        raise TrainingError(
            f"The logger '{name}' needs a package that is not installed ({error}): run  "
            f"pip install 'vqazoo[{name}]'."
        ) from error


def _to_board(board: Any) -> Write:
    def write(line: Mapping[str, float]) -> None:
        for key, value in line.items():
            board.add_scalar(key, value, int(line["epoch"]))

    return write
