"""Losses that compare the rows of a batch with one another, on several processes. Imports torch.

Every process knows the whole batch and computes the vectors of its own rows. What is compared with
all rows is gathered, with its gradient, so that the parts of a loss sum up, over the processes, to
the loss of one process, and so do their gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Share:
    """One process's part of a batch, of which each process has as many rows.

    Attributes:
        size: how many processes there are; rank: which one this is, from 0.
    """

    size: int = 1
    rank: int = 0

    @property
    def alone(self) -> bool:
        return self.size == 1

    def rows(self, count: int) -> slice:
        """This process's rows of `count`, in the batch's order."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def gathered(self, own: Tensor) -> Tensor:
        """Rows (B, ...) of all processes from each one's own (b, ...), with their gradient."""
        if self.alone:
            return own
        return cast(Tensor, _Gathered.apply(own.float(), self.size, self.rank))

    def of_first(self, tensor: Tensor) -> Tensor:
        """What the first process has, of the same shape, on all."""
        if not self.alone:
            dist.broadcast(tensor := tensor.contiguous(), src=0)
        return tensor

    def cross_entropy(self, scores: Tensor, targets: Tensor, count: int, **options: Any) -> Tensor:
        """This part (scalar) of the mean over `count` rows of all processes, from its own rows.

        Args:
            scores: (b, C); targets: (b,) int64 or (b, C); options: of PyTorch's cross_entropy.
        """
        if self.alone:
            return F.cross_entropy(scores, targets, **options)
        return F.cross_entropy(scores, targets, reduction="none", **options).sum() / count


ALONE = Share()


class _Gathered(torch.autograd.Function):
    """All rows; backward, each process gets what all of them say about its own."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, size: int, rank: int) -> Tensor:
        ctx.place = rank, len(own)
        parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(size)]
        dist.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        rank, count = ctx.place
        grad = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad[rank * count : (rank + 1) * count], None, None


class SharedBatchNorm2d(nn.BatchNorm2d):
    """A batch norm whose statistics, while it trains, are those of all processes' rows.

    PyTorch's SyncBatchNorm works on GPUs alone. Every process has as many rows.
    """

    share: Share = ALONE

    def forward(self, input: Tensor) -> Tensor:
        """Normalised maps (b, C, H, W) of maps (b, C, H, W)."""
        if not self.training or self.share.alone:
            return super().forward(input)
        x = input.float()
        mean = x.mean(dim=(0, 2, 3))  # (C,)
        variance = x.var(dim=(0, 2, 3), correction=0)  # (C,)
        every = self.share.gathered(torch.stack([mean, variance])[None])  # (size, 2, C)
        mean = every[:, 0].mean(dim=0)  # (C,)
        variance = every[:, 1].mean(dim=0) + every[:, 0].var(dim=0, correction=0)  # (C,)
        self._remember(mean.detach(), variance.detach(), self.share.size * x[:, 0].numel())
        scale = self.weight * (variance + self.eps).rsqrt()  # (C,)
        y = (x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]
        return y.to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """As PyTorch does: running statistics, of the unbiased variance."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance * (count / (count - 1)), rate)


def share_batch_norms(module: nn.Module, share: Share) -> None:
    """Make the batch norms of a module look at the rows of all processes; names stay."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            made = SharedBatchNorm2d(child.num_features, child.eps, child.momentum)
            made.share = share
            made.weight, made.bias = child.weight, child.bias
            for kept in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(made, kept, getattr(child, kept))
            setattr(module, name, made.train(child.training))
        else:
            share_batch_norms(child, share)
