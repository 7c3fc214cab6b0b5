"""Gathering, scattering and making tensors from indices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hexaquant.ir.executor.ops.dtypes import TORCH_DTYPES
from hexaquant.ir.executor.ops.host import IntList, Number, ints, number

_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _non_negative(index: Tensor, size: int) -> Tensor:
    return torch.where(index < 0, index + size, index).long()


def gather(x: Tensor, index: Tensor | int, *, axis: int = 0) -> Tensor:
    """Slices of x along ``axis``; the shape of ``index`` replaces that axis."""
    if isinstance(index, int):
        return x.select(axis, index)
    axis %= x.dim()
    y = x.index_select(axis, _non_negative(index, x.shape[axis]).reshape(-1))
    return y if index.dim() == 1 else y.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def gather_elements(x: Tensor, index: Tensor, *, axis: int = 0) -> Tensor:
    return torch.gather(x, axis, _non_negative(index, x.shape[axis]))


def gather_nd(x: Tensor, index: Tensor, *, batch_dims: int = 0) -> Tensor:
    """Slices of x at the index tuples in the last axis of ``index``, batch by batch."""
    depth = index.shape[-1]
    batch = x.shape[:batch_dims]
    count = math.prod(batch)
    flat, rows = _flat_index(index, x.shape[batch_dims : batch_dims + depth])
    rest = x.shape[batch_dims + depth :]
    first = torch.arange(count, device=x.device)[:, None] * rows
    source = x.reshape(count * rows, -1)
    y = source.index_select(0, (flat.reshape(count, -1) + first).reshape(-1))
    return y.reshape(*index.shape[:-1], *rest)


def _flat_index(index: Tensor, shape: torch.Size) -> tuple[Tensor, int]:
    """Row-major position of each index tuple in ``shape``, and the number of positions."""
    flat = torch.zeros_like(index[..., 0], dtype=torch.int64)
    for i, size in enumerate(shape):
        flat = flat * size + _non_negative(index[..., i], size)
    return flat, math.prod(shape)


def scatter_elements(x: Tensor, index: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none") -> Tensor:
    place = _non_negative(index, x.shape[axis])
    if reduction == "none":
        return x.scatter(axis, place, updates)
    return x.scatter_reduce(axis, place, updates, _REDUCE[reduction], include_self=True)


def scatter_nd(x: Tensor, index: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """x with the slices at the index tuples in the last axis of ``index`` replaced or reduced by ``updates``."""
    depth = index.shape[-1]
    flat, rows = _flat_index(index, x.shape[:depth])
    source = x.reshape(rows, -1)
    flat = flat.reshape(-1)
    values = updates.reshape(flat.numel(), -1)
    if reduction == "none":
        return source.index_copy(0, flat, values).reshape(x.shape)
    if reduction == "add":
        return source.index_add(0, flat, values).reshape(x.shape)
    wide = flat[:, None].expand_as(values)
    return source.scatter_reduce(0, wide, values, _REDUCE[reduction], include_self=True).reshape(x.shape)


def one_hot(indices: Tensor, depth: Number | IntList, values: Tensor, *, axis: int = -1) -> Tensor:
    """values[1] at ``indices`` along a new ``axis`` of size ``depth``, values[0] elsewhere."""
    count = int(number(depth))  # type: ignore[arg-type]
    place = axis if axis >= 0 else axis + indices.dim() + 1
    wanted = torch.where(indices < 0, indices + count, indices).unsqueeze(place)
    line = torch.arange(count, device=indices.device).reshape([-1] + [1] * (indices.dim() - place))
    return torch.where(wanted == line, values[1], values[0])


def non_zero(x: Tensor) -> Tensor:
    """Indices of the non-zero elements, (rank, count)."""
    return torch.nonzero(x).t()


def compress(x: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor:
    """Slices of x (flattened without ``axis``) where ``condition`` holds; a short condition is false beyond."""
    source, dim = (x.reshape(-1), 0) if axis is None else (x, axis)
    return source.index_select(dim, torch.nonzero(condition).reshape(-1))


def where(condition: Tensor, a: Tensor | Number, b: Tensor | Number) -> Tensor:
    return torch.where(condition, a, b)  # type: ignore[arg-type]


def trilu(x: Tensor, k: Number | IntList | None = None, *, upper: int = 1) -> Tensor:
    """The upper or lower triangle of the last two axes, from diagonal ``k``."""
    diagonal = 0 if k is None else int(number(k))  # type: ignore[arg-type]
    return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)


def range_(start: Number | Tensor, limit: Number | Tensor, delta: Number | Tensor) -> Tensor:
    """start, start + delta, ... up to, without, ``limit``; on the host."""
    first = number(start)
    end = number(limit)
    step = number(delta)
    count = max(math.ceil((end - first) / step), 0)
    dtype = torch.float32 if isinstance(first, float) else torch.int64
    return first + step * torch.arange(count, dtype=dtype)


def constant_of_shape(
    shape: IntList, *, value: float | int | bool = 0.0, value_dtype: torch.dtype = torch.float32
) -> Tensor:
    """A tensor of ``shape`` filled with ``value``; on the host."""
    return torch.full(ints(shape), value, dtype=value_dtype)


def eye_like(x: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    """Ones on diagonal ``k`` of a matrix of the shape of x."""
    eye = torch.ones_like(x, dtype=x.dtype if dtype is None else TORCH_DTYPES[dtype])
    return torch.triu(torch.tril(eye, k), k)


def reverse_sequence(x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """The first ``lengths[b]`` steps of each sequence reversed, the rest kept."""
    steps = torch.arange(x.shape[time_axis], device=x.device)[:, None]
    source = torch.where(steps < lengths, lengths - 1 - steps, steps)
    source = source if time_axis == 0 else source.t()
    view = source.reshape(source.shape + (1,) * (x.dim() - 2)).expand(x.shape)
    return torch.gather(x, time_axis, view)
