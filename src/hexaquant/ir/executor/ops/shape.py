"""Operators that move, cut, join or describe tensors without computing on their values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hexaquant.ir.executor.ops.host import IntList, Number, ints, number


def identity(x: Tensor) -> Tensor:
    return x


def reshape(x: Tensor, shape: IntList, *, allowzero: int = 0) -> Tensor:
    """0 copies the input's size (unless allowzero), -1 is inferred."""
    sizes = ints(shape)
    if not allowzero:
        sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(sizes)]
    return x.reshape(sizes)


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """Two axes: those before ``axis`` and the rest."""
    axis = axis + x.dim() if axis < 0 else axis
    if axis == 1 and x.dim() > 1:
        return torch.flatten(x, 1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def squeeze(x: Tensor, axes: IntList | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(ints(axes)))


def unsqueeze(x: Tensor, axes: IntList) -> Tensor:
    """New axes of size 1 at positions ``axes`` of the output."""
    places = ints(axes)
    rank = x.dim() + len(places)
    for axis in sorted(a % rank for a in places):
        x = x.unsqueeze(axis)
    return x


def transpose(x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    return x.permute(tuple(perm) if perm is not None else tuple(reversed(range(x.dim()))))


def concat(*tensors: Tensor, axis: int) -> Tensor:
    return torch.cat(tensors, axis)


def split(
    x: Tensor, sizes: IntList | None = None, *, axis: int = 0, num_outputs: int | None = None, n_outputs: int = 1
) -> tuple[Tensor, ...]:
    """Parts of the given sizes, or ``num_outputs`` equal parts of which the last may be smaller."""
    if sizes is not None:
        return torch.split(x, ints(sizes), axis)
    return torch.split(x, -(-x.shape[axis] // (num_outputs or n_outputs)), axis)


def slice_(
    x: Tensor, starts: IntList, ends: IntList, axes: IntList | None = None, steps: IntList | None = None
) -> Tensor:
    """x[start:end:step] along each of ``axes``; a negative step walks backwards."""
    first = ints(starts)
    last = ints(ends)
    where = list(range(len(first))) if axes is None else ints(axes)
    strides = [1] * len(first) if steps is None else ints(steps)
    index = [slice(None)] * x.dim()
    backwards = []
    for start, end, axis, step in zip(first, last, where, strides):
        if step > 0:
            index[axis] = slice(start, end, step)
            continue
        visited = range(*slice(start, end, step).indices(x.shape[axis]))
        index[axis] = slice(visited[-1], visited[0] + 1, -step) if visited else slice(0, 0)
        backwards.append(axis)
    y = x[tuple(index)]
    return y.flip(backwards) if backwards else y


def expand(x: Tensor, shape: IntList) -> Tensor:
    """x broadcast against ``shape`` in both directions."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(ints(shape))))


def tile(x: Tensor, repeats: IntList) -> Tensor:
    return x.repeat(ints(repeats))


def shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    """The shape as an int64 tensor on the host."""
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


def size(x: Tensor) -> Tensor:
    """The number of elements as an int64 tensor on the host."""
    return torch.tensor(x.numel(), dtype=torch.int64)


def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """(N, C, H, W) to (N, C/b^2, H*b, W*b); CRD is torch's pixel shuffle."""
    if mode == "CRD":
        return torch.pixel_shuffle(x, blocksize)
    n, c, h, w = x.shape
    b = blocksize
    y = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    return y.reshape(n, c // (b * b), h * b, w * b)


def space_to_depth(x: Tensor, *, blocksize: int) -> Tensor:
    """(N, C, H, W) to (N, C*b^2, H/b, W/b), the block position being the outer part of the channel."""
    n, c, h, w = x.shape
    b = blocksize
    y = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * b * b, h // b, w // b)


# Padding in all ONNX modes.


def pad(
    x: Tensor,
    pads: IntList,
    constant_value: Number | Tensor | None = None,
    axes: IntList | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    """``pads`` holds the sizes before each of ``axes``, then those after; negative sizes crop."""
    sizes = ints(pads)
    where = list(range(x.dim())) if axes is None else [a % x.dim() for a in ints(axes)]
    ends = {axis: (sizes[i], sizes[i + len(where)]) for i, axis in enumerate(where)}
    if mode == "constant":
        flat = [p for axis in reversed(range(x.dim())) for p in ends.get(axis, (0, 0))]
        return F.pad(x, flat, value=0 if constant_value is None else number(constant_value))
    for axis, (before, after) in ends.items():
        if before or after:
            x = x.index_select(axis, _source(x.shape[axis], before, after, mode, x.device))
    return x


def _source(n: int, before: int, after: int, mode: str, device: torch.device) -> Tensor:
    """Index into an axis of size ``n`` for each position of the padded axis."""
    place = torch.arange(-before, n + after, device=device)
    if mode == "edge":
        return place.clamp(0, n - 1)
    if mode == "wrap":
        return place.remainder(n)
    period = max(2 * (n - 1), 1)
    folded = place.remainder(period)
    return torch.minimum(folded, period - folded) if n > 1 else torch.zeros_like(place)
