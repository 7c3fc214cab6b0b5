"""An Encoding: a grid together with its scale and offset. Immutable; the unit that is exported and proven."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hexaquant.core import grid as g
from hexaquant.core.errors import EncodingError
from hexaquant.core.grid import Grid, Lpbq, PerBlock, PerChannel, PerTensor

MIN_SCALE = 2.0**-23
"""Smallest scale ever produced (AIMET's floor for dead channels): smaller ones underflow in requantization."""

MAX_SCALE = 1e30
"""Largest scale ever produced: what needs a larger one (a mask of -3.4e38) leaves no step for anything else."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """``scale`` float32 and ``offset`` float32 holding integers, both in the grid's stored shape.

    ``block_scale`` (LPBQ only): float32 holding integers, shape (C, n_blocks).
    A float grid has neither: both are empty tensors.
    """

    grid: Grid
    scale: Tensor
    offset: Tensor
    block_scale: Tensor | None = None

    def __post_init__(self) -> None:
        if self.grid.is_float:
            return
        if self.scale.shape != self.offset.shape:
            raise EncodingError(
                f"scale {tuple(self.scale.shape)} and offset {tuple(self.offset.shape)} differ in shape"
            )
        if not bool(torch.isfinite(self.scale).all()) or bool((self.scale <= 0).any()):
            raise EncodingError("a scale is zero, negative, infinite or NaN")

    @property
    def min(self) -> Tensor:
        """Smallest representable value, offset * scale."""
        return self.offset * self.step

    @property
    def max(self) -> Tensor:
        """Largest representable value, (offset + 2^bits - 1) * scale."""
        return (self.offset + (self.grid.levels - 1)) * self.step

    @property
    def step(self) -> Tensor:
        """Effective step size: ``scale``, or per block ``scale * block_scale`` for LPBQ (shape (C, n_blocks))."""
        return self.scale if self.block_scale is None else self.scale[:, None] * self.block_scale

    def expanded(self, shape: torch.Size | tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Scale and offset broadcastable against a tensor of ``shape``."""
        scale = g.expand(self.step, self.grid.granularity, shape)
        return scale, g.expand(self.offset, self.grid.granularity, shape)

    def quantize(self, x: Tensor) -> Tensor:
        """Integers on the unsigned grid, as float32 (float64 above 24 bits), shape of ``x``."""
        scale, offset = self.expanded(x.shape)
        return g.quantize(x, scale, offset, self.grid.levels)

    def dequantize(self, q: Tensor) -> Tensor:
        """Real values of unsigned-grid integers ``q``."""
        scale, offset = self.expanded(q.shape)
        return g.dequantize(q, scale, offset)

    def fake_quantize(self, x: Tensor) -> Tensor:
        """The nearest representable values (no gradient; see core.fake_quant for training)."""
        if self.grid.is_float:
            return x.half().to(x.dtype) if self.grid.bits == 16 else x
        return self.dequantize(self.quantize(x)).to(x.dtype)

    def same_as(self, other: Encoding) -> bool:
        """True when grid, scale, offset and block scales are equal to the last bit."""
        if self.grid != other.grid or (self.block_scale is None) != (other.block_scale is None):
            return False
        if self.grid.is_float:
            return True
        blocks = self.block_scale is None or torch.equal(self.block_scale, other.block_scale)  # type: ignore[arg-type]
        return blocks and torch.equal(self.scale, other.scale) and torch.equal(self.offset, other.offset)


def float_encoding(bits: int = 16) -> Encoding:
    """The encoding of a tensor that stays float16 (or float32) on the target."""
    empty = torch.empty(0)
    return Encoding(Grid(bits, kind="float"), empty, empty)


def fits(low: Tensor, high: Tensor, grid: Grid) -> bool:
    """Whether [low, high] is finite and no step of ``grid`` over it is larger than MAX_SCALE."""
    finite = bool(torch.isfinite(low).all() and torch.isfinite(high).all())
    return finite and max(float(high.max()), -float(low.min())) / grid.levels <= MAX_SCALE


def encoding_from_range(low: Tensor, high: Tensor, grid: Grid) -> Encoding:
    """Encoding whose range covers [low, high] (in the grid's stored shape) and always includes zero exactly.

    Symmetric grids use all 2^b levels as AIMET's non-strict mode does:
    scale = max(high / (2^(b-1) - 1), -low / 2^(b-1)).
    Raises EncodingError on NaN or infinite ranges.
    """
    low = low.float().clamp(max=0)
    high = high.float().clamp(min=0)
    if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
        raise EncodingError("the observed range is NaN or infinite")
    if not fits(low, high, grid):
        raise EncodingError("the observed range is beyond 1e30 a step: no other value can be told from zero on it")
    if isinstance(grid.granularity, Lpbq):
        raise EncodingError("LPBQ encodings come from lpbq_from_weight, not from a range")
    if grid.symmetric:
        half = grid.levels // 2
        scale = torch.maximum(high / (half - 1), -low / half).clamp(min=MIN_SCALE)
        return Encoding(grid, scale, torch.full_like(scale, float(grid.symmetric_offset)))
    scale = ((high - low) / (grid.levels - 1)).clamp(min=MIN_SCALE)
    offset = g.round_half_even(low / scale).clamp(-(grid.levels - 1), 0)
    return Encoding(grid, scale, offset)


def range_of(x: Tensor, granularity: g.Granularity) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of ``x`` in the stored shape of ``granularity``."""
    if isinstance(granularity, PerTensor):
        low, high = torch.aminmax(x)
        return low, high
    if isinstance(granularity, PerChannel):
        rows = x.movedim(granularity.axis, 0).reshape(x.shape[granularity.axis], -1)
        return rows.amin(1), rows.amax(1)
    blocks = _as_blocks(x, granularity)
    return blocks.amin(2), blocks.amax(2)


def _as_blocks(x: Tensor, granularity: PerBlock | Lpbq) -> Tensor:
    """View (C, n_blocks, values of a block) of ``x``."""
    size = granularity.block_size
    if x.shape[granularity.axis] % size:
        raise EncodingError(f"axis {granularity.axis} of shape {tuple(x.shape)} is not a multiple of block size {size}")
    moved = x.movedim((granularity.channel_axis, granularity.axis), (0, 1))
    return moved.reshape(moved.shape[0], moved.shape[1] // size, -1)


def lpbq_from_weight(w: Tensor, grid: Grid) -> Encoding:
    """LPBQ encoding of a weight from its per-block ranges (symmetric).

    Per-block scales s_b are expressed as integers n_b = round(s_b / s_c), 1 <= n_b <= 2^(D-b), of a float
    scale per channel s_c = max_b s_b / 2^(D-b), with D = ``decompressed_bits``.
    """
    lpbq = grid.granularity
    if not isinstance(lpbq, Lpbq):
        raise EncodingError("lpbq_from_weight needs an Lpbq grid")
    blocks = PerBlock(lpbq.axis, lpbq.block_size, lpbq.channel_axis)
    per_block = encoding_from_range(*range_of(w, blocks), Grid(grid.bits, True, True, blocks)).scale
    top = 2 ** (lpbq.decompressed_bits - grid.bits)
    channel = (per_block.amax(1) / top).clamp(min=MIN_SCALE)
    ints = g.round_half_even(per_block / channel[:, None]).clamp(1, top)
    return Encoding(grid, channel, torch.full_like(channel, float(grid.symmetric_offset)), ints)


def encoding_of(x: Tensor, grid: Grid) -> Encoding:
    """Min-max encoding of a known tensor (a weight or a constant) on ``grid``."""
    if grid.is_float:
        return float_encoding(grid.bits)
    if isinstance(grid.granularity, Lpbq):
        return lpbq_from_weight(x, grid)
    return encoding_from_range(*range_of(x, grid.granularity), grid)
