"""Epoch lines sent to TensorBoard, trackio or Weights & Biases, besides log.jsonl.

The energy that `codecarbon` measures is read by vqazoo/training/energy.py into these lines.

The packages are optional extras and imported only when a config names them.
"""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqazoo.errors import TrainingError
from vqazoo.files.writing import write_file
from vqazoo.training.energy import LOGGER

PACKAGES = {"tensorboard": "torch.utils.tensorboard", "trackio": "trackio", "wandb": "wandb"}
PROJECT = "vqazoo"
RUN_ID = "run-id.txt"  # in the run folder, where a tracker is used

Write = Callable[[Mapping[str, float]], None]


class ExperimentLogs:
    """Writers of the named loggers; each gets the numbers of every epoch line."""

    def __init__(
        self, names: Sequence[str], out: Path, config: Mapping[str, Any], done: int
    ) -> None:
        """Go on with the logs of the run in `out` after `done` epochs, or begin new ones.

        Raises:
            TrainingError: a package is not installed.
        """
        self._writers: list[Write] = []
        self._closers: list[Callable[[], Any]] = []
        for name in dict.fromkeys(name for name in names if name != LOGGER):
            module = _module(name)
            if name == "tensorboard":
                # Steps from here on that an earlier process wrote are of epochs that did not end.
                board = module.SummaryWriter(str(out / "tensorboard"), purge_step=done + 1)
                self._writers.append(_to_board(board))
                self._closers.append(board.close)
                continue
            identity = _run_id(out, resumed=done > 0)
            known = (
                {"id": identity, "name": out.name}
                if name == "wandb"
                else {"name": f"{out.name}-{identity}"}  # trackio tells runs apart by their names
            )
            module.init(project=PROJECT, config=dict(config), resume="allow", **known)
            self._writers.append(_to_tracker(module.log))
            self._closers.append(module.finish)

    def write(self, line: Mapping[str, Any]) -> None:
        numbers = {key: value for key, value in line.items() if isinstance(value, (int, float))}
        for write in self._writers:
            write(numbers)

    def close(self) -> None:
        for close in self._closers:
            close()


def _run_id(out: Path, resumed: bool) -> str:
    """What tells this run from all others, kept in its folder; another one for a new run."""
    file = out / RUN_ID
    if resumed and file.is_file():
        return file.read_text().strip()
    identity = uuid.uuid4().hex[:12]
    write_file(file, f"{identity}\n".encode())
    return identity


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
        board.flush()  # the run may be killed

    return write


def _to_tracker(log: Callable[..., Any]) -> Write:
    def write(line: Mapping[str, float]) -> None:
        log(dict(line), step=int(line["epoch"]))

    return write
