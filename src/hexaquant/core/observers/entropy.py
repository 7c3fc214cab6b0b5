"""Entropy: the clip whose quantized distribution loses the least information (KL divergence).

Migacz, "8-bit Inference with TensorRT", GTC 2017. For a threshold t the kept bins form P, with what lies outside
added to the end bins; Q is P without the outside, merged into one cell a grid level and spread again over the
bins that hold anything. Asymmetric grids keep [max(low, -t), min(high, t)]. As in TensorRT at least as many bins
as levels are kept, hence the finer histogram. Where the grid has more levels than a quarter of the bins (12 bits
and more) there is nothing to choose and the answer is min-max.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.grid import Grid
from hexaquant.core.observers.histogram import Histogram
from hexaquant.core.observers.histogram_observer import HistogramObserver

THRESHOLDS = 128


class EntropyObserver(HistogramObserver):
    """Searches THRESHOLDS evenly spaced clips; ties go to the wider."""

    def __init__(self, grid: Grid, bins: int = 8192) -> None:
        super().__init__(grid, bins)

    def clip(self, low: float, high: float) -> Encoding:
        if 4 * self.grid.levels <= self.histogram.bins:
            low, high = search(self.histogram, self.grid)
        return encoding_from_range(torch.tensor(low), torch.tensor(high), self.grid)


def search(histogram: Histogram, grid: Grid) -> tuple[float, float]:
    """Clip range with the least KL(P || Q)."""
    low, high = histogram.range.with_zero()
    edges, counts = histogram.trimmed(tight=False)
    t = max(-low, high) * torch.arange(THRESHOLDS, 0, -1, dtype=torch.float64) / THRESHOLDS
    lows, highs = (-t, t) if grid.symmetric else (t.neg().clamp(min=low), t.clamp(max=high))
    best = int(torch.argmin(divergence(edges, counts, lows, highs, grid.levels)))
    return float(lows[best]), float(highs[best])


def divergence(edges: Tensor, counts: Tensor, lows: Tensor, highs: Tensor, levels: int) -> Tensor:
    """KL(P || Q) in nats for each candidate range, (K,); infinite where fewer than ``levels`` bins are kept.

    ``edges`` are evenly spaced. Cells are runs of bins, so that all sums are differences of cumulative sums:
    O(K x levels) time and memory.
    """
    n = counts.numel()
    parts = torch.linspace(0, 1, levels + 1, dtype=torch.float64)
    bounds = lows[:, None] + (highs - lows)[:, None] * parts
    cut = ((bounds - edges[0]) / (edges[1] - edges[0]) - 0.5).ceil().clamp_(0, n).long()
    first, last = cut[:, 0].clamp(max=n - 1), (cut[:, -1] - 1).clamp(min=0)
    mass = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    holding = torch.nn.functional.pad((counts > 0).double().cumsum(0), (1, 0))
    p_log_p = torch.nn.functional.pad(torch.xlogy(counts, counts).cumsum(0), (1, 0))
    kept, below, above = mass[cut].diff(dim=1), mass[first], mass[-1] - mass[last + 1]
    inside = mass[last + 1] - mass[first]
    q = kept / holding[cut].diff(dim=1).clamp(min=1) / inside.clamp(min=1e-300)[:, None]
    own = p_log_p[last + 1] - p_log_p[first]
    for end, extra in ((first, below), (last, above)):
        own = own + torch.xlogy(counts[end] + extra, counts[end] + extra) - torch.xlogy(counts[end], counts[end])
    kept[:, 0] += below
    kept[:, -1] += above
    kl = (own - (kept * q.clamp(min=1e-12).log()).sum(1)) / mass[-1] - mass[-1].log()
    return torch.where(last - first + 1 >= min(levels, n), kl, torch.inf)
