"""SQNR in the sense of AIMET's tf-enhanced scheme: rounding noise plus gamma times clipping noise.

Candidates as AIMET's SqnrEncodingAnalyzer picks them (aimet_torch.v2.quantization.encoding_analyzer): 17 steps
and 21 offsets for asymmetric grids, 101 steps for symmetric ones, gamma = 3, on a histogram of at most 512 bins.
The noise is integrated (core.observers.noise) rather than taken at bin centres, so it holds for 16 bits as well.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.core import grid as g
from hexaquant.core.encoding import MIN_SCALE, Encoding, encoding_from_range
from hexaquant.core.grid import Grid
from hexaquant.core.observers.candidates import pairs
from hexaquant.core.observers.histogram_observer import HistogramObserver
from hexaquant.core.observers.noise import expected_noise

ASYMMETRIC_STEPS, SYMMETRIC_STEPS, OFFSETS, SEARCH_BINS = 17, 101, 21, 512


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
