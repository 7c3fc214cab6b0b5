"""Convolution and transposed convolution over 1, 2 or 3 spatial axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from hexaquant.ir.executor.ops import window

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """x (N, C, *size), w (M, C/group, *kernel), b (M). Copies the input only when the padding is asymmetric."""
    rank = w.dim() - 2
    if auto_pad == "NOTSET" and (not pads or pads[:rank] == pads[rank:]):
        return _CONV[rank](x, w, b, strides or 1, pads[:rank] if pads else 0, dilations or 1, group)
    win = window.resolve(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    padding = win.before
    if not win.symmetric:
        x = F.pad(x, win.flat_pads())
        padding = (0,) * len(padding)
    return _CONV[len(padding)](x, w, b, win.stride, padding, win.dilation, group)


def conv_transpose(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """x (N, C, *size), w (C, M/group, *kernel), b (M).

    Size per axis: stride * (size - 1) + output_padding + extent - before - after. Padding that differs
    between the ends, or an output longer than torch's output_padding allows, is cropped or zero-filled.
    """
    size = x.shape[2:]
    rank = w.dim() - 2
    win = window.resolve(size, w.shape[2:], strides, dilations, pads, "NOTSET")
    extra = tuple(output_padding) if output_padding else (0,) * rank
    before = list(win.before)
    after = list(win.after)
    if output_shape or auto_pad.startswith("SAME"):
        goal = list(output_shape)[-rank:] if output_shape else [n * s for n, s in zip(size, win.stride)]
        full = [s * (n - 1) + o + e for s, n, o, e in zip(win.stride, size, extra, win.extent)]
        excess = [f - g for f, g in zip(full, goal)]
        small = [e // 2 for e in excess]
        large = [e - s for e, s in zip(excess, small)]
        before, after = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    padding = tuple(max(min(p, q), 0) for p, q in zip(before, after))
    y = _CONV_TRANSPOSE[rank](x, w, b, win.stride, padding, extra, group, win.dilation)
    rest = [done - cut for b, a, done in zip(before[::-1], after[::-1], padding[::-1]) for cut in (b, a)]
    return F.pad(y, rest) if any(rest) else y
