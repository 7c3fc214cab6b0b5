"""Padding in all ONNX modes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hexaquant.ir.executor.ops.host import IntList, Number, ints, number


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
