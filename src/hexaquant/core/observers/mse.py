"""The clip range that minimises the mean squared quantization error of what was seen.

Low and high clip are searched jointly in two stages. First all combinations of COARSE fractions of the two
ends, with rounding noise s^2/12 and clipping noise from cumulative moments of the histogram (O(1) a candidate).
Then FINE x FINE combinations around the best, snapped to the grid, with the exact integral of core.observers.noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.grid import Grid
from hexaquant.core.observers.candidates import pairs, snapped
from hexaquant.core.observers.histogram import Histogram
from hexaquant.core.observers.histogram_observer import HistogramObserver
from hexaquant.core.observers.noise import expected_noise

COARSE, FINE = 64, 7


class MseObserver(HistogramObserver):
    """Ties of the search go to the wider range."""

    def clip(self, low: float, high: float) -> Encoding:
        low, high = search(self.histogram, self.grid)
        return encoding_from_range(torch.tensor(low), torch.tensor(high), self.grid)


def search(histogram: Histogram, grid: Grid) -> tuple[float, float]:
    """Clip range (low <= 0 <= high) with the least expected squared error on ``grid``."""
    low, high = histogram.range.with_zero()
    if grid.symmetric:  # the range that one scale spans: half a level more below zero than above
        half = grid.levels // 2
        high = max(high, -low * (half - 1) / half)
        low = -high * half / (half - 1)
    edges, counts = histogram.trimmed()
    fractions = torch.arange(COARSE, 0, -1, dtype=torch.float64) / COARSE
    part_low, part_high = _combined(low, high, fractions, fractions, grid)
    best = int(torch.argmin(_coarse_noise(edges, counts, low * part_low, high * part_high, grid.levels)))
    around = torch.linspace(1.5, -1.5, FINE, dtype=torch.float64) / COARSE
    if grid.symmetric:
        around = torch.linspace(1.5, -1.5, 5 * FINE, dtype=torch.float64) / COARSE
    near = [(part[best] + around).clamp(1e-3, 1) for part in (part_low, part_high)]
    part_low, part_high = (
        torch.cat([torch.ones(1, dtype=v.dtype), v]) for v in _combined(low, high, near[0], near[1], grid)
    )
    noise = expected_noise(edges, counts, *snapped(low * part_low, high * part_high, grid), grid.levels)
    best = int(torch.argmin(noise))
    return float(low * part_low[best]), float(high * part_high[best])


def _combined(low: float, high: float, lows: Tensor, highs: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Fractions of both ends to try: all pairs, or only one end's where the other cannot move on its own."""
    if grid.symmetric or low == 0:
        return highs, highs
    return (lows, lows) if high == 0 else pairs(lows, highs)


def _coarse_noise(edges: Tensor, counts: Tensor, lows: Tensor, highs: Tensor, levels: int) -> Tensor:
    """Rounding noise s^2/12 of what lies inside plus clipping noise of what lies outside, by cumulative moments."""
    centers = (edges[1:] + edges[:-1]) / 2
    moments = torch.stack([counts, counts * centers, counts * centers**2])
    below = torch.nn.functional.pad(moments.cumsum(1), (1, 0))
    at_low = torch.searchsorted(edges, lows).clamp(max=counts.numel())
    at_high = torch.searchsorted(edges, highs).clamp(max=counts.numel())
    m0, m1, m2 = below[:, at_low]
    noise = m2 - 2 * lows * m1 + lows**2 * m0
    n0, n1, n2 = below[:, -1:] - below[:, at_high]
    noise = noise + n2 - 2 * highs * n1 + highs**2 * n0
    step = (highs - lows) / (levels - 1)
    return noise + step**2 / 12 * (below[0, -1] - m0 - n0)
