"""Entropy: the clip whose quantized distribution loses the least information (KL divergence).

Migacz, "8-bit Inference with TensorRT", GTC 2017. For a threshold t the kept bins form P, with what lies outside
added to the end bins; Q is P without the outside, merged into one cell a grid level and spread again over the
bins that hold anything. Asymmetric grids keep [max(low, -t), min(high, t)]. Where the grid has at least as many
levels as the histogram bins (12 bits and more) nothing is lost and the answer is min-max.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.grid import Grid
from hexaquant.core.observers.histogram import Histogram
from hexaquant.core.observers.observer import require_per_tensor

THRESHOLDS = 100


class EntropyObserver:
    """Searches THRESHOLDS clips between a hundredth of the reach and all of it; ties go to the wider."""

    def __init__(self, grid: Grid, bins: int = 2048) -> None:
        require_per_tensor(grid)
        self.grid = grid
        self.histogram = Histogram(bins)

    def update(self, x: Tensor) -> None:
        self.histogram.add(x)

    def encoding(self) -> Encoding:
        low, high = self.histogram.range.with_zero()
        if low < high and self.grid.levels < self.histogram.bins and float(self.histogram.counts.sum()) > 0:
            low, high = search(self.histogram, self.grid)
        return encoding_from_range(torch.tensor(low), torch.tensor(high), self.grid)

    def state(self) -> dict[str, Tensor]:
        return self.histogram.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.histogram.load_state(state)


def search(histogram: Histogram, grid: Grid) -> tuple[float, float]:
    """Clip range with the least KL(P || Q)."""
    low, high = histogram.range.with_zero()
    edges, counts = histogram.trimmed()
    reach = max(-low, high)
    t = reach * torch.arange(THRESHOLDS, 0, -1, dtype=torch.float64) / THRESHOLDS
    if grid.symmetric:
        lows, highs = -t, t
    else:
        lows, highs = (-t).clamp(min=low), t.clamp(max=high)
    best = int(torch.argmin(_divergence(edges, counts, lows, highs, grid.levels)))
    return float(lows[best]), float(highs[best])


def _divergence(edges: Tensor, counts: Tensor, lows: Tensor, highs: Tensor, levels: int) -> Tensor:
    """KL(P || Q) in nats for each candidate range, (K,). Memory: a few tensors of K x bins float64."""
    centers = (edges[1:] + edges[:-1]) / 2
    cell = ((centers - lows[:, None]) / (highs - lows)[:, None] * levels).floor()
    inside = (cell >= 0) & (cell < levels)
    cell = cell.clamp_(0, levels - 1).long()
    kept = torch.where(inside & (counts > 0), counts.expand_as(cell), counts.new_zeros(()))
    p = kept + _outside(counts, inside)
    merged = kept.new_zeros(lows.numel(), levels).scatter_add_(1, cell, kept)
    holding = kept.new_zeros(lows.numel(), levels).scatter_add_(1, cell, (kept > 0).double())
    q = torch.where(kept > 0, (merged / holding.clamp(min=1)).gather(1, cell), kept.new_zeros(()))
    p, q = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True).clamp(min=1e-300)
    terms = torch.where(p > 0, p * (p / q.clamp(min=1e-12)).log(), p.new_zeros(()))
    return terms.sum(1)


def _outside(counts: Tensor, inside: Tensor) -> Tensor:
    """What lies beyond the clips, placed on the first and the last kept bin; (K, bins)."""
    first = inside.double().argmax(1, keepdim=True)
    last = inside.shape[1] - 1 - inside.flip(1).double().argmax(1, keepdim=True)
    total = counts.cumsum(0)
    below = (total - counts)[first]
    above = total[-1] - total[last]
    return torch.zeros(inside.shape, dtype=counts.dtype).scatter_add_(1, first, below).scatter_add_(1, last, above)
