"""Candidate encodings for clip searches, snapped to the grid in the same way as encoding_from_range."""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.core import grid as g
from hexaquant.core.encoding import MIN_SCALE
from hexaquant.core.grid import Grid


def snapped(low: Tensor, high: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Scales and offsets, float64 (K,), of the encodings that encoding_from_range makes of [low, high] (K,)."""
    if grid.symmetric:
        half = grid.levels // 2
        scale = torch.maximum(high / (half - 1), -low / half).clamp(min=MIN_SCALE)
        return scale, torch.full_like(scale, float(grid.symmetric_offset))
    scale = ((high - low) / (grid.levels - 1)).clamp(min=MIN_SCALE)
    return scale, g.round_half_even(low / scale).clamp(-(grid.levels - 1), 0)


def pairs(lows: Tensor, highs: Tensor) -> tuple[Tensor, Tensor]:
    """All combinations of ``lows`` and ``highs``, both flattened to (len(lows) * len(highs),)."""
    low, high = torch.meshgrid(lows, highs, indexing="ij")
    return low.reshape(-1), high.reshape(-1)
