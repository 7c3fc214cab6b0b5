"""Expected quantization error of a histogram for many candidate encodings at once.

Mass is taken as uniform within each bin, and the squared error of rounding to the grid is integrated over the
bin in closed form, so the result is right also where the step is smaller than a bin (16-bit grids). With n =
round(t / s) and r = t - n s, the antiderivative of the squared rounding error is  n s^3 / 12 + r^3 / 3, and of
the squared clipping error beyond a bound b it is  (t - b)^3 / 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.core import grid as g
from hexaquant.core.encoding import MIN_SCALE
from hexaquant.core.grid import Grid

# Candidate encodings for clip searches, snapped to the grid in the same way as encoding_from_range.


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


def expected_noise(
    edges: Tensor, counts: Tensor, scale: Tensor, offset: Tensor, levels: int, clip_weight: float = 1.0
) -> Tensor:
    """Summed squared error (K,) of the candidates ``scale``, ``offset`` (each (K,) float64).

    ``edges`` (B + 1,) and ``counts`` (B,) float64. Errors of clipped values count ``clip_weight`` times.
    Memory: a few tensors of K x (B + 1) float64.
    """
    density = counts / (edges[1:] - edges[:-1])
    jumps = torch.zeros_like(edges)
    jumps[:-1] -= density
    jumps[1:] += density
    s = scale[:, None]
    t = edges[None, :] / s  # in steps
    bottom = offset[:, None]
    top = offset[:, None] + (levels - 1)
    n = g.round_half_even(t).clamp_(bottom, top)
    inside = t.clamp(bottom - 0.5, top + 0.5)
    r = inside - n
    error = n.sub_(bottom).mul_(1 / 12).add_(r.pow(3).mul_(1 / 3))
    error += _beyond(t, inside, clip_weight)
    return (error @ jumps) * scale**3


def _beyond(t: Tensor, inside: Tensor, weight: float) -> Tensor:
    """Antiderivative of the clipped part: distance from the last level grows from 1/2 step on."""
    past = t - inside
    far = past.abs().add_(0.5).pow_(3).sub_(0.125).mul_(weight / 3)
    return torch.copysign(far, past)
