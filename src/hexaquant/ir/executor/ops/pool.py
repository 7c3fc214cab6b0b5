"""Pooling over 1, 2 or 3 spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hexaquant.ir.executor.ops import window
from hexaquant.ir.executor.ops.host import IntList, ints
from hexaquant.ir.executor.ops.window import Window

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _output_size(size: Sequence[int], win: Window, ceil_mode: int) -> list[int]:
    """Windows per axis. With ``ceil_mode`` a last window that would start in the trailing padding is dropped."""
    result = []
    for n, extent, stride, before, after in zip(size, win.extent, win.stride, win.before, win.after):
        room = n + before + after - extent
        steps = -(-room // stride) if ceil_mode else room // stride
        if ceil_mode and steps * stride >= n + before:
            steps -= 1
        result.append(steps + 1)
    return result


def _padded(x: Tensor, win: Window, ceil_mode: int, value: float) -> Tensor:
    """``x`` padded with ``value`` so that pooling without padding and ceil_mode visits exactly ONNX's windows."""
    size = x.shape[2:]
    out = _output_size(size, win, ceil_mode)
    ends = [(o - 1) * s + e - n - b for o, s, e, n, b in zip(out, win.stride, win.extent, size, win.before)]
    pads = [p for pair in zip(reversed(win.before), reversed(ends)) for p in pair]
    return F.pad(x, pads, value=value) if any(pads) else x


def _fits_torch(win: Window) -> bool:
    return win.symmetric and all(2 * p <= k for p, k in zip(win.before, win.kernel))


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    storage_order: int = 0,
    strides: Sequence[int] | None = None,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """Largest value of each window, and (n_outputs=2) its index into the flattened input, row major."""
    win = window.resolve(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    pool = _MAX[len(win.kernel)]
    if n_outputs > 1:
        return _max_pool_with_indices(x, win, ceil_mode, storage_order)
    if _fits_torch(win):
        return (pool(x, win.kernel, win.stride, win.before, win.dilation, bool(ceil_mode)),)
    lowest = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    return (pool(_padded(x, win, ceil_mode, lowest), win.kernel, win.stride, 0, win.dilation),)


def _max_pool_with_indices(x: Tensor, win: Window, ceil_mode: int, storage_order: int) -> tuple[Tensor, Tensor]:
    size = x.shape[2:]
    rank = len(win.kernel)
    wide = _padded(x, win, ceil_mode, -math.inf)
    y, index = _MAX[rank](wide, win.kernel, win.stride, 0, win.dilation, return_indices=True)
    place: list[Tensor] = []
    for axis in reversed(range(rank)):
        place.insert(0, index % wide.shape[2 + axis] - win.before[axis])
        index = index // wide.shape[2 + axis]
    order = range(rank) if storage_order == 0 else reversed(range(rank))
    flat = torch.zeros_like(place[0])
    for axis in order:
        flat = flat * size[axis] + place[axis]
    planes = torch.arange(x.shape[0] * x.shape[1], device=x.device) * math.prod(size)
    return y, flat + planes.reshape(*x.shape[:2], *[1] * rank)


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """Mean of each window, over the elements inside the input (and its padding with ``count_include_pad``)."""
    win = window.resolve(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    if _fits_torch(win) and set(win.dilation) == {1}:
        pool = _AVERAGE[len(win.kernel)]
        return pool(x, win.kernel, win.stride, win.before, bool(ceil_mode), bool(count_include_pad))
    wide = _padded(x, win, ceil_mode, 0.0)
    return _window_sum(wide, win) / _window_sum(_counted(x, wide, win, bool(count_include_pad)), win)


def _counted(x: Tensor, wide: Tensor, win: Window, with_pads: bool) -> Tensor:
    """Ones where an element of ``wide`` (a padded x) counts in the mean, zeros elsewhere; shape (1, 1, *size)."""
    counted = wide.new_zeros(1, 1, *wide.shape[2:])
    index: list[slice | int] = [0, 0]
    for n, before, after in zip(x.shape[2:], win.before, win.after):
        index.append(slice(0, before + n + after) if with_pads else slice(before, before + n))
    counted[tuple(index)] = 1.0
    return counted


def _window_sum(x: Tensor, win: Window) -> Tensor:
    """Sum of each window of a padded ``x``, channel by channel."""
    rank = len(win.kernel)
    flat = x.reshape(-1, 1, *x.shape[2:])
    y = _CONV[rank](flat, x.new_ones(1, 1, *win.kernel), None, win.stride, 0, win.dilation)
    return y.reshape(*x.shape[:2], *y.shape[2:])


def lp_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    p: int = 2,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """Lp norm of each window."""
    win = window.resolve(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    return _window_sum(_padded(x, win, ceil_mode, 0.0).abs().pow(p), win).pow(1.0 / p)


def _spatial(x: Tensor) -> list[int]:
    return list(range(2, x.dim()))


def global_average_pool(x: Tensor) -> Tensor:
    return x.mean(_spatial(x), keepdim=True)


def global_max_pool(x: Tensor) -> Tensor:
    return x.amax(_spatial(x), keepdim=True)


def global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    return torch.linalg.vector_norm(x, p, _spatial(x), keepdim=True)


def max_unpool(
    x: Tensor,
    index: Tensor,
    output_shape: IntList | None = None,
    *,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """Inverse of max_pool: each value put back at ``index``, a position in the flattened output, among zeros."""
    win = window.resolve(x.shape[2:], kernel_shape, strides, None, pads, "NOTSET")
    spatial = [
        (n - 1) * s + k - b - a for n, s, k, b, a in zip(x.shape[2:], win.stride, win.kernel, win.before, win.after)
    ]
    shape = [*x.shape[:2], *spatial] if output_shape is None else ints(output_shape)
    return x.new_zeros(math.prod(shape)).scatter(0, index.reshape(-1), x.reshape(-1)).reshape(shape)
