"""Training on several processes, started by `torchrun` or `accelerate launch`. Imports torch.

Every process holds the whole model and sees its share of each batch; gradients are added up, so
the step is that of one process with the whole batch. Only the first process writes and reports.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from vqazoo.errors import TrainingError


@dataclass(frozen=True)
class Group:
    """The processes of a run: how many there are, and which one this is (from 0)."""

    size: int = 1
    rank: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of the rows of a batch."""
        return rows[self.rank :: self.size]

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sum the gradients of all processes, in place, in one message."""
        if self.size == 1:
            return
        learning = [p for p in parameters if p.requires_grad]
        flat = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in learning]
        )
        used = flat.new_tensor([p.grad is not None for p in learning])
        dist.all_reduce(flat := torch.cat([flat, used]))
        start = 0
        for parameter, count in zip(learning, flat[-len(learning) :].tolist(), strict=True):
            end = start + parameter.numel()
            if count:  # else no process used it: its optimiser state stands still, as with one
                parameter.grad = flat[start:end].view_as(parameter).to(parameter, copy=True)
            start = end

    def add(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def tell(self, value: float, device: torch.device) -> float:
        """The first process's value, on all of them; they wait for it."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=device)
        dist.broadcast(shared, src=0)
        return float(shared.item())

    def close(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()


def join_group(device: torch.device) -> Group:
    """The group that the launcher's environment variables name; without them, a group of one.

    Raises:
        TrainingError: the processes cannot reach each other.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size == 1:
        return Group()
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"Process {rank} of {size} cannot join the others ({error}): start the run with "
            f"torchrun or accelerate launch, which set the addresses."
        ) from error
    return Group(size, rank)


def local_device(name: str) -> str:
    """The device of this process: with several processes, its own GPU for `auto` or `cuda`."""
    if "LOCAL_RANK" in os.environ and name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return name
