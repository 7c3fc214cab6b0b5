"""The grid of a quantized tensor, and rounding and clipping onto it, defined once for the whole package.

A real tensor x is represented by integers q on the *unsigned* grid 0 .. 2^bits - 1::

    q = clamp(round(x / scale - offset), 0, 2^bits - 1)          x ~ (q + offset) * scale

with ``round`` = half to even, as in ONNX QuantizeLinear and AIMET 0.6.1/1.0.0. ``offset`` is an
integer <= 0 (the negated ONNX zero point of the unsigned type). ``signed`` only chooses how the
integers are stored in ONNX files (int8 rather than uint8); the real values do not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hexaquant.core.errors import EncodingError


@dataclass(frozen=True)
class PerTensor:
    """One scale for the tensor; ``scale.shape == ()``."""


@dataclass(frozen=True)
class PerChannel:
    """One scale for each index along ``axis``; ``scale.shape == (C,)``."""

    axis: int = 0


@dataclass(frozen=True)
class PerBlock:
    """One scale for each channel and each block of ``block_size`` along ``axis``.

    ``scale.shape == (C, n_blocks)`` with C = size of ``channel_axis``; other axes share the scale.
    """

    axis: int
    block_size: int
    channel_axis: int = 0


@dataclass(frozen=True)
class Lpbq:
    """Low-power blockwise quantization: per-block scale = integer (1 .. 2^(decompressed_bits - bits)) x a
    float scale per channel. ``scale.shape == (C,)`` and ``block_scale.shape == (C, n_blocks)``."""

    axis: int
    block_size: int
    channel_axis: int = 0
    decompressed_bits: int = 8


Granularity = PerTensor | PerChannel | PerBlock | Lpbq


@dataclass(frozen=True)
class Grid:
    """How a tensor is quantized, without its numbers. ``kind="float"`` with 16 bits is IEEE float16."""

    bits: int = 8
    signed: bool = False
    symmetric: bool = False
    granularity: Granularity = PerTensor()
    kind: Literal["int", "float"] = "int"

    def __post_init__(self) -> None:
        if self.kind == "float" and self.bits not in (16, 32):
            raise EncodingError(f"a float grid has 16 or 32 bits, not {self.bits}")
        if self.kind == "int" and not 2 <= self.bits <= 32:
            raise EncodingError(f"an integer grid has 2 to 32 bits, not {self.bits}")

    @property
    def levels(self) -> int:
        """Number of integers on the grid, 2^bits."""
        return 2**self.bits

    @property
    def symmetric_offset(self) -> int:
        """The offset of a symmetric grid: -2^(bits-1)."""
        return -(2 ** (self.bits - 1))

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    def __str__(self) -> str:
        if self.is_float:
            return f"float{self.bits}"
        where = {PerTensor: "", PerChannel: "/channel", PerBlock: "/block", Lpbq: "/lpbq"}
        return f"{'int' if self.signed else 'uint'}{self.bits}{where[type(self.granularity)]}"


FLOAT16 = Grid(16, kind="float")


def expand(param: Tensor, granularity: Granularity, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Make ``param`` (a scale or offset in its stored shape) broadcastable against a tensor of ``shape``.

    Raises EncodingError when the stored shape does not fit ``shape``.
    """
    if isinstance(granularity, PerTensor) or param.dim() == 0:
        return param.reshape(())
    rank = len(shape)
    if isinstance(granularity, PerChannel) or param.dim() == 1:
        axis = granularity.axis if isinstance(granularity, PerChannel) else granularity.channel_axis
        if not -rank <= axis < rank or param.numel() != shape[axis]:
            raise EncodingError(f"{param.numel()} per-channel scales do not fit axis {axis} of shape {tuple(shape)}")
        view = [1] * rank
        view[axis] = param.numel()
        return param.reshape(view)
    return _expand_blocks(param, granularity, tuple(shape))


def _expand_blocks(param: Tensor, granularity: PerBlock | Lpbq, shape: tuple[int, ...]) -> Tensor:
    rank = len(shape)
    axis = granularity.axis
    channel = granularity.channel_axis
    size = shape[axis]
    if size % granularity.block_size or param.shape != (shape[channel], size // granularity.block_size):
        raise EncodingError(
            f"per-block scales of shape {tuple(param.shape)} with block size {granularity.block_size} do not fit "
            f"axis {axis} of shape {shape}"
        )
    wide = param.repeat_interleave(granularity.block_size, dim=1)
    view = [1] * rank
    if channel % rank < axis % rank:
        view[channel], view[axis] = wide.shape
        return wide.reshape(view)
    view[axis], view[channel] = wide.shape[1], wide.shape[0]
    return wide.t().reshape(view)


def round_half_even(x: Tensor) -> Tensor:
    """Rounding to the nearest integer, ties to even: of values to a grid, everywhere but in the fused kernels."""
    return torch.round(x)


def round_half_even_(x: Tensor) -> Tensor:
    """In-place :func:`round_half_even`."""
    return x.round_()


def quantize(x: Tensor, scale: Tensor, offset: Tensor, levels: int) -> Tensor:
    """Integers q (as float values) on the unsigned grid; ``scale`` and ``offset`` broadcast against ``x``.

    Matches ONNX QuantizeLinear: round(x / scale) first, then the zero point is added and the sum clipped.
    Grids of more than 24 bits (int32 biases) are computed and returned in float64.
    """
    if levels > 2**24:  # float32 cannot hold q - offset of an int32 bias
        x = x.double()
        offset = offset.double()
    return (round_half_even(x / scale) - offset).clamp_(0, levels - 1)


def dequantize(q: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Real values of the integers ``q``: (q + offset) * scale."""
    return (q + offset) * scale
