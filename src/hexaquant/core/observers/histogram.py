"""A streaming histogram whose bins never need interpolation when the range grows.

Bin widths are powers of two and bin edges are multiples of the width. When new data does not fit, the width
doubles and neighbouring bins merge, exactly. So the final histogram depends only on the data, not on how it was
cut into batches. Exact zeros (ReLU makes many) are counted apart: zero is on every grid and makes no noise.
The range is exact over all elements; counts may come from a sample (core.observers.sampling).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.core.observers.observer import Range, finite_range
from hexaquant.core.observers.sampling import sample

MIN_EXPONENT, MAX_EXPONENT = -110, 118
"""Bin widths are 2^e within these, so that width and inverse are normal float32 numbers."""


class Histogram:
    """``counts``: float64 (bins,), bin i covering [(start + i) * width, (start + i + 1) * width) without zeros."""

    def __init__(self, bins: int = 2048) -> None:
        if bins < 64:
            raise InputError(f"a histogram needs at least 64 bins, not {bins}")
        self.bins = bins
        self.counts = torch.zeros(bins, dtype=torch.float64)
        self.zeros = 0.0
        self.range = Range()
        self.exponent, self.start = MIN_EXPONENT, 0
        self.updates = 0

    @property
    def width(self) -> float:
        return 2.0**self.exponent

    @property
    def edges(self) -> Tensor:
        """Bin edges, float64 (bins + 1,)."""
        return (torch.arange(self.bins + 1, dtype=torch.float64) + self.start) * self.width

    @property
    def total(self) -> float:
        """Number of elements seen (estimated where they were sampled)."""
        return float(self.counts.sum()) + self.zeros

    def add(self, x: Tensor) -> None:
        """Count a batch. Raises InputError on NaN, infinity or an empty tensor."""
        low, high = finite_range(x)
        self.range.add(low, high)
        self._fit(*self.range.with_zero())
        taken, weight = sample(x, self.updates)
        self.updates += 1
        self._count(taken, weight)
        if weight > 1 and low < high:  # the extremes are known exactly: never let the sample miss them
            self._count(torch.tensor([low, high]), 1.0)

    def _count(self, x: Tensor, weight: float) -> None:
        codes = (x * 2.0**-self.exponent).floor_().sub_(self.start).clamp_(0, self.bins - 1).to(torch.int32)
        zeros = x.numel() - int(torch.count_nonzero(x))
        self.counts += torch.bincount(codes, minlength=self.bins).cpu().double() * weight
        if zeros and 0 <= -self.start < self.bins:
            self.counts[-self.start] -= zeros * weight
        self.zeros += zeros * weight

    def _fit(self, low: float, high: float) -> None:
        """Widen the bins until [low, high] fits, merging what was counted."""
        span = high - low
        wanted = max(self.exponent, math.ceil(math.log2(span / self.bins)) if span > 0 else MIN_EXPONENT)
        wanted = min(wanted, MAX_EXPONENT)
        while math.floor(high / 2.0**wanted) - math.floor(low / 2.0**wanted) >= self.bins:
            wanted += 1
        start = math.floor(low / 2.0**wanted)
        if (wanted, start) == (self.exponent, self.start):
            return
        self._move(wanted, start)

    def _move(self, exponent: int, start: int) -> None:
        held = torch.nonzero(self.counts).flatten()
        places = ((held + self.start) >> min(exponent - self.exponent, 62)) - start
        moved = torch.zeros_like(self.counts).index_add_(0, places, self.counts[held])
        self.counts, self.exponent, self.start = moved, exponent, start

    def trimmed(self) -> tuple[Tensor, Tensor]:
        """``edges`` and ``counts`` of the bins between the first and the last that hold anything or touch zero."""
        held = torch.nonzero(self.counts).flatten().tolist()
        zero = min(max(-self.start, 0), self.bins - 1)
        first, last = min([*held[:1], zero]), max([*held[-1:], zero])
        return self.edges[first : last + 2], self.counts[first : last + 1]

    def state(self) -> dict[str, Tensor]:
        numbers = [self.zeros, self.exponent, self.start, self.updates]
        return {"counts": self.counts.clone(), "numbers": torch.tensor(numbers, dtype=torch.float64)} | (
            self.range.state()
        )

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.counts = state["counts"].clone()
        self.bins = self.counts.numel()
        zeros, exponent, start, updates = state["numbers"].tolist()
        self.zeros, self.exponent, self.start, self.updates = zeros, int(exponent), int(start), int(updates)
        self.range.load_state(state)
