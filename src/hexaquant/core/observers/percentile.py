"""Percentile: clips each tail to a quantile of what was seen."""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.errors import InputError
from hexaquant.core.grid import Grid
from hexaquant.core.observers.histogram import Histogram
from hexaquant.core.observers.histogram_observer import HistogramObserver


class PercentileObserver(HistogramObserver):
    """The range runs from the (100 - percentile) to the ``percentile`` quantile; 100 is min-max."""

    def __init__(self, grid: Grid, percentile: float = 99.99, bins: int = 2048) -> None:
        super().__init__(grid, bins)
        self.percentile = checked(percentile)

    def clip(self, low: float, high: float) -> Encoding:
        tail = 1 - self.percentile / 100
        if tail > 0:
            bottom, top = quantiles(self.histogram, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
            low, high = max(low, min(bottom, 0.0)), min(high, max(top, 0.0))
        return encoding_from_range(torch.tensor(low), torch.tensor(high), self.grid)


def checked(percentile: float) -> float:
    """``percentile``, which lies in (50, 100]; InputError otherwise."""
    if not 50 < percentile <= 100:
        raise InputError(f"percentile must lie in (50, 100], not {percentile:g}")
    return percentile


def quantiles(histogram: Histogram, q: Tensor) -> Tensor:
    """Quantiles ``q`` (fractions, float64), interpolated within bins; exact zeros form one atom at 0."""
    edges, counts = histogram.trimmed()
    split = int(torch.searchsorted(edges, torch.tensor(0.0, dtype=torch.float64)))
    values = torch.cat([edges[:split], edges.new_zeros(2), edges[split:]])
    mass = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    before = mass[min(split, mass.numel() - 1)]
    mass = torch.cat([mass[:split], torch.stack([before, before + histogram.zeros]), mass[split:] + histogram.zeros])
    wanted = q * mass[-1]
    right = torch.searchsorted(mass, wanted).clamp(1, mass.numel() - 1)
    below, above = mass[right - 1], mass[right]
    part = ((wanted - below) / (above - below).clamp(min=1e-300)).clamp(0, 1)
    return values[right - 1] + part * (values[right] - values[right - 1])
