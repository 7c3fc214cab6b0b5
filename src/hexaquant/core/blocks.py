"""Tensors in pieces that stay in a core's cache, so that a chain of passes reads memory once."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

BLOCK = 1 << 18
"""Elements of a piece: measured fastest for three float32 buffers (2^14 to 2^18 tried)."""


def flat_in_memory_order(*tensors: Tensor) -> list[Tensor]:
    """Each tensor (all of one shape) as a vector in the memory order of the first, without a copy where that is its
    own order too."""
    strides = tensors[0].stride()
    order = sorted(range(len(strides)), key=lambda axis: -strides[axis])
    return [t.permute(order).reshape(-1) for t in tensors]


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices along axis 0 of a tensor of ``shape``, of about BLOCK elements each and at least one row."""
    rows, elements = shape[0], 1
    for size in shape[1:]:
        elements *= size
    step = max(1, BLOCK // max(elements, 1))
    for start in range(0, rows, step):
        yield slice(start, start + step)
