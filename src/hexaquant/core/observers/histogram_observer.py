"""What the observers that search a clip range in a streamed histogram have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from hexaquant.core import grid as g
from hexaquant.core.encoding import MIN_SCALE, Encoding, encoding_from_range
from hexaquant.core.errors import InputError
from hexaquant.core.grid import Grid
from hexaquant.core.observers.histogram import Histogram
from hexaquant.core.observers.noise import expected_noise, pairs, snapped
from hexaquant.core.observers.observer import require_per_tensor


class HistogramObserver(ABC):
    """Base: streams a histogram of ``bins``; :meth:`clip` narrows the range that was seen."""

    def __init__(self, grid: Grid, bins: int = 2048) -> None:
        require_per_tensor(grid)
        self.grid = grid
        self.histogram = Histogram(bins)

    def update(self, x: Tensor) -> None:
        self.histogram.add(x)

    def encoding(self) -> Encoding:
        low, high = self.histogram.range.with_zero()
        if low < high and float(self.histogram.counts.sum()) > 0:
            return self.clip(low, high)
        return encoding_from_range(torch.tensor(low), torch.tensor(high), self.grid)

    @abstractmethod
    def clip(self, low: float, high: float) -> Encoding:
        """The encoding for a histogram that is not empty; ``low`` <= 0 <= ``high`` is the range seen."""

    def state(self) -> dict[str, Tensor]:
        return self.histogram.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.histogram.load_state(state)

    def merge(self, states: Sequence[dict[str, Tensor]]) -> None:
        self.histogram.merge(states)


# Percentile: clips each tail to a quantile of what was seen.


class PercentileObserver(HistogramObserver):
    """The range runs from the (100 - percentile) to the ``percentile`` quantile; 100 is min-max."""

    def __init__(self, grid: Grid, percentile: float = 99.99, bins: int = 2048) -> None:
        super().__init__(grid, bins)
        self.percentile = checked(percentile)

    def clip(self, low: float, high: float) -> Encoding:
        tail = 1 - self.percentile / 100
        if tail > 0:
            bottom, top = quantiles(self.histogram, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
            low = max(low, min(bottom, 0.0))
            high = min(high, max(top, 0.0))
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
    below = mass[right - 1]
    above = mass[right]
    part = ((wanted - below) / (above - below).clamp(min=1e-300)).clamp(0, 1)
    return values[right - 1] + part * (values[right] - values[right - 1])


# Entropy: the clip whose quantized distribution loses the least information (KL divergence).
#
# Migacz, "8-bit Inference with TensorRT", GTC 2017. For a threshold t the kept bins form P, with what lies outside
# added to the end bins; Q is P without the outside, merged into one cell a grid level and spread again over the
# bins that hold anything. Asymmetric grids keep [max(low, -t), min(high, t)]. As in TensorRT at least as many bins
# as levels are kept, hence the finer histogram. Where the grid has more levels than a quarter of the bins (12 bits
# and more) there is nothing to choose and the answer is min-max.

THRESHOLDS = 128


class EntropyObserver(HistogramObserver):
    """Searches THRESHOLDS evenly spaced clips; ties go to the wider."""

    def __init__(self, grid: Grid, bins: int = 8192) -> None:
        super().__init__(grid, bins)

    def clip(self, low: float, high: float) -> Encoding:
        if 4 * self.grid.levels <= self.histogram.bins:
            low, high = search_entropy(self.histogram, self.grid)
        return encoding_from_range(torch.tensor(low), torch.tensor(high), self.grid)


def search_entropy(histogram: Histogram, grid: Grid) -> tuple[float, float]:
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
    first = cut[:, 0].clamp(max=n - 1)
    last = (cut[:, -1] - 1).clamp(min=0)
    mass = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    holding = torch.nn.functional.pad((counts > 0).double().cumsum(0), (1, 0))
    p_log_p = torch.nn.functional.pad(torch.xlogy(counts, counts).cumsum(0), (1, 0))
    kept = mass[cut].diff(dim=1)
    below = mass[first]
    above = mass[-1] - mass[last + 1]
    inside = mass[last + 1] - mass[first]
    q = kept / holding[cut].diff(dim=1).clamp(min=1) / inside.clamp(min=1e-300)[:, None]
    own = p_log_p[last + 1] - p_log_p[first]
    for end, extra in ((first, below), (last, above)):
        own = own + torch.xlogy(counts[end] + extra, counts[end] + extra) - torch.xlogy(counts[end], counts[end])
    kept[:, 0] += below
    kept[:, -1] += above
    kl = (own - (kept * q.clamp(min=1e-12).log()).sum(1)) / mass[-1] - mass[-1].log()
    return torch.where(last - first + 1 >= min(levels, n), kl, torch.inf)


# The clip range that minimises the mean squared quantization error of what was seen.
#
# Low and high clip are searched jointly in two stages. First all combinations of COARSE fractions of the two
# ends, with rounding noise s^2/12 and clipping noise from cumulative moments of the histogram (O(1) a candidate).
# Then FINE x FINE combinations around the best, snapped to the grid, with the exact integral of core.observers.noise.

COARSE = 64
FINE = 7


class MseObserver(HistogramObserver):
    """Ties of the search go to the wider range."""

    def clip(self, low: float, high: float) -> Encoding:
        low, high = search_mse(self.histogram, self.grid)
        return encoding_from_range(torch.tensor(low), torch.tensor(high), self.grid)


def search_mse(histogram: Histogram, grid: Grid) -> tuple[float, float]:
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


# SQNR in the sense of AIMET's tf-enhanced scheme: rounding noise plus gamma times clipping noise.
#
# Candidates as AIMET's SqnrEncodingAnalyzer picks them (aimet_torch.v2.quantization.encoding_analyzer): 17 steps
# and 21 offsets for asymmetric grids, 101 steps for symmetric ones, gamma = 3, on a histogram of at most 512 bins.
# The noise is integrated (core.observers.noise) rather than taken at bin centres, so it holds for 16 bits as well.

ASYMMETRIC_STEPS = 17
SYMMETRIC_STEPS = 101
OFFSETS = 21
SEARCH_BINS = 512


class SqnrObserver(HistogramObserver):
    """``gamma`` weighs clipping noise against rounding noise."""

    def __init__(self, grid: Grid, gamma: float = 3.0, bins: int = 2048) -> None:
        super().__init__(grid, bins)
        self.gamma = gamma

    def clip(self, low: float, high: float) -> Encoding:
        observed = encoding_from_range(torch.tensor(low), torch.tensor(high), self.grid)
        scale, offset = _symmetric(observed) if self.grid.symmetric else _asymmetric(observed)
        edges, counts = _coarsened(*self.histogram.trimmed())
        noise = expected_noise(edges, counts, scale, offset, self.grid.levels, self.gamma)
        best = int(torch.argmin(noise))
        return Encoding(self.grid, scale[best].float(), offset[best].float())


def _symmetric(observed: Encoding) -> tuple[Tensor, Tensor]:
    parts = torch.arange(SYMMETRIC_STEPS, 0, -1, dtype=torch.float64) / (SYMMETRIC_STEPS - 1)
    scale = (parts * float(observed.scale)).clamp(min=MIN_SCALE)
    return scale, torch.full_like(scale, float(observed.offset))


def _asymmetric(observed: Encoding) -> tuple[Tensor, Tensor]:
    """Steps x offsets, each candidate's range cut to the observed one and snapped to the grid again."""
    top = observed.grid.levels - 1
    parts = torch.arange(ASYMMETRIC_STEPS, 0, -1, dtype=torch.float64) / (ASYMMETRIC_STEPS - 1)
    offsets = torch.linspace(-top, 0, min(OFFSETS, top + 1), dtype=torch.float64).round()
    offsets = torch.cat([observed.offset.double().reshape(1), offsets])
    scale, offset = pairs(parts * float(observed.scale), offsets)
    low = (scale * offset).clamp(min=float(observed.min))
    high = (scale * (offset + top)).clamp(max=float(observed.max))
    scale = ((high - low) / top).clamp(min=MIN_SCALE)
    return scale, g.round_half_even(low / scale).clamp(-top, 0)


def _coarsened(edges: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Merge neighbouring bins until at most SEARCH_BINS remain."""
    merge = -(-counts.numel() // SEARCH_BINS)
    if merge == 1:
        return edges, counts
    missing = -counts.numel() % merge
    merged = torch.nn.functional.pad(counts, (0, missing)).reshape(-1, merge).sum(1)
    return torch.cat([edges[:-1:merge], edges[-1:]]), merged
