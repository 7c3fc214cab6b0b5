"""Reductions, sorting and running sums along axes."""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.ir.executor.ops.host import IntList, Number, ints, number


def _axes(x: Tensor, axes: IntList | None, noop: int) -> list[int]:
    """The axes to reduce: all when none are given, none with ``noop_with_empty_axes``."""
    chosen = [] if axes is None else ints(axes)
    if chosen or noop:
        return chosen
    return list(range(x.dim()))


def reduce_mean(x: Tensor, axes: IntList | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    dims = _axes(x, axes, noop_with_empty_axes)
    return x.mean(dims, keepdim=bool(keepdims)) if dims else x


def reduce_sum(x: Tensor, axes: IntList | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    dims = _axes(x, axes, noop_with_empty_axes)
    return x.sum(dims, keepdim=bool(keepdims), dtype=x.dtype) if dims else x


def reduce_max(x: Tensor, axes: IntList | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    dims = _axes(x, axes, noop_with_empty_axes)
    return x.amax(dims, keepdim=bool(keepdims)) if dims else x


def reduce_min(x: Tensor, axes: IntList | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    dims = _axes(x, axes, noop_with_empty_axes)
    return x.amin(dims, keepdim=bool(keepdims)) if dims else x


def reduce_prod(x: Tensor, axes: IntList | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    for axis in sorted((a % x.dim() for a in _axes(x, axes, noop_with_empty_axes)), reverse=True):
        x = x.prod(axis, keepdim=bool(keepdims), dtype=x.dtype)
    return x


def reduce_l1(x: Tensor, axes: IntList | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    return reduce_sum(x.abs(), axes, keepdims=keepdims, noop_with_empty_axes=noop_with_empty_axes)


def reduce_l2(x: Tensor, axes: IntList | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    dims = _axes(x, axes, noop_with_empty_axes)
    return torch.linalg.vector_norm(x, 2, dims, keepdim=bool(keepdims)) if dims else x.abs()


def reduce_log_sum(
    x: Tensor, axes: IntList | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    return reduce_sum(x, axes, keepdims=keepdims, noop_with_empty_axes=noop_with_empty_axes).log()


def reduce_log_sum_exp(
    x: Tensor, axes: IntList | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    dims = _axes(x, axes, noop_with_empty_axes)
    return x.logsumexp(dims, keepdim=bool(keepdims)) if dims else x


def reduce_sum_square(
    x: Tensor, axes: IntList | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    return reduce_sum(x.square(), axes, keepdims=keepdims, noop_with_empty_axes=noop_with_empty_axes)


def arg_max(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Index of the largest element, the first or (select_last_index) the last of equal ones."""
    if select_last_index:
        return x.shape[axis] - 1 - x.flip(axis).argmax(axis, keepdim=bool(keepdims))
    return x.argmax(axis, keepdim=bool(keepdims))


def arg_min(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Index of the smallest element, the first or (select_last_index) the last of equal ones."""
    if select_last_index:
        return x.shape[axis] - 1 - x.flip(axis).argmin(axis, keepdim=bool(keepdims))
    return x.argmin(axis, keepdim=bool(keepdims))


def top_k(
    x: Tensor, k: Number | IntList, *, axis: int = -1, largest: int = 1, sorted: int = 1, n_outputs: int = 2
) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) values along ``axis`` and their indices, of equal ones the lower index first."""
    values, indices = torch.sort(x, dim=axis, descending=bool(largest), stable=True)
    count = int(number(k))  # type: ignore[arg-type]
    return values.narrow(axis, 0, count), indices.narrow(axis, 0, count)


def cum_sum(x: Tensor, axis: Number | IntList, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Running sum along ``axis``, from the end with ``reverse``, without the element itself with ``exclusive``."""
    dim = int(number(axis))  # type: ignore[arg-type]
    y = (x.flip(dim) if reverse else x).cumsum(dim, dtype=x.dtype)
    y = y.flip(dim) if reverse else y
    return y - x if exclusive else y
