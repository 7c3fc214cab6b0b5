"""Several processes that compute one result together: sums, extremes and gathers over torch.distributed.

Without an initialized process group there is one rank and every function returns its argument. So a loop of the
user's own under DistributedDataParallel gets the same reductions as hq.finetune.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")


def world_size() -> int:
    """Number of processes that work together, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def total(x: Tensor) -> Tensor:
    """Sum of ``x`` over the ranks, without gradient."""
    return _reduced(x, dist.ReduceOp.SUM)


def lowest(x: Tensor) -> Tensor:
    """Elementwise minimum over the ranks."""
    return _reduced(x, dist.ReduceOp.MIN)


def highest(x: Tensor) -> Tensor:
    """Elementwise maximum over the ranks."""
    return _reduced(x, dist.ReduceOp.MAX)


def _reduced(x: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
    if world_size() == 1:
        return x.detach()
    result = x.detach().clone()
    dist.all_reduce(result, operation)
    return result


def total_with_gradient(x: Tensor) -> Tensor:
    """Sum of ``x`` over the ranks; its gradient is summed over the ranks as well."""
    return x if world_size() == 1 else _Total.apply(x)  # type: ignore[no-any-return]


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return total(x)

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return total(grads[0].contiguous())


def gathered(value: T) -> list[T]:
    """``value`` of every rank (anything that pickles), in the order of ranks."""
    if world_size() == 1:
        return [value]
    values: list[T | None] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def of_first(value: T) -> T:
    """The first rank's ``value`` on every rank."""
    return gathered(value)[0] if world_size() > 1 else value
