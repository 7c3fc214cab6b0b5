"""A streaming histogram whose bins never need interpolation when the range grows.

Bin widths are powers of two and bin edges are multiples of the width. When new data does not fit, the width
doubles and neighbouring bins merge, exactly. So the final histogram depends only on the data, not on how it was
cut into batches. Exact zeros (ReLU makes many) are counted apart: zero is on every grid and makes no noise.
The range is exact over all elements; counts may come from a sample (core.observers.sampling). Samples wait in a
buffer of BUFFER floats and are counted together, because a count costs 30 us however small the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.core.observers.observer import Range, require_elements, require_finite
from hexaquant.core.observers.sampling import Sample, Tail, corrections, sample

MIN_EXPONENT = -110
MAX_EXPONENT = 118
"""Bin widths are 2^e within these, so that width and inverse are normal float32 numbers."""

BUFFER = 1 << 16


class Histogram:
    """``counts``: float64 (bins,), bin i covering ((start + i) * width, (start + i + 1) * width] without zeros.

    Closed on the right, so that where nothing is negative (after ReLU) one bin holds the zeros alone.
    """

    def __init__(self, bins: int = 2048) -> None:
        if bins < 64:
            raise InputError(f"a histogram needs at least 64 bins, not {bins}")
        self.bins = bins
        self.range = Range()
        self.exponent = MIN_EXPONENT
        self.start = -1
        self.updates = 0
        self._counts = torch.zeros(bins, dtype=torch.float64)
        self._zeros = 0.0
        self._buffer = torch.empty(0)
        self._waiting = 0
        self._weight = 1.0
        self._stride = 1
        self._tails: list[Tail] = []

    @property
    def width(self) -> float:
        return 2.0**self.exponent

    @property
    def counts(self) -> Tensor:
        self._flush()
        return self._counts

    @property
    def zeros(self) -> float:
        """Number of exact zeros seen (estimated where sampled)."""
        self._flush()
        return self._zeros

    @property
    def edges(self) -> Tensor:
        """Bin edges, float64 (bins + 1,)."""
        self._flush()
        return (torch.arange(self.bins + 1, dtype=torch.float64) + self.start) * self.width

    @property
    def total(self) -> float:
        """Number of elements seen (estimated where sampled)."""
        return float(self.counts.sum()) + self._zeros

    def add(self, x: Tensor) -> None:
        """Take a batch. Raises InputError on NaN, infinity or an empty tensor."""
        require_elements(x)
        x = x.detach()
        if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            x = x.float()
        drawn = sample(x, self.updates)
        require_finite(drawn.low, drawn.high)
        self.range.add(drawn.low, drawn.high)
        self.updates += 1
        self._wait(drawn)

    def _wait(self, drawn: Sample) -> None:
        n = drawn.taken.numel()
        if drawn.weight != self._weight or self._waiting + n > BUFFER:
            self._flush()
        self._weight = drawn.weight
        self._stride = drawn.stride
        self._tails += drawn.tails
        if n > BUFFER:
            self._fit(*self.range.with_zero())
            self._count(drawn.taken.to(torch.float32).contiguous(), drawn.weight)
            return
        if not self._buffer.numel():
            self._buffer = torch.empty(BUFFER, device=drawn.taken.device)
        self._buffer[self._waiting : self._waiting + n] = drawn.taken
        self._waiting += n

    def _flush(self) -> None:
        """Count what waits."""
        waiting = self._buffer[: self._waiting]
        tails = self._tails
        if not (waiting.numel() or tails):
            return
        self._waiting = 0
        self._tails = []
        self._fit(*self.range.with_zero())
        if waiting.numel():
            self._count(waiting, self._weight)
        if tails:
            values, weights = corrections(tails, self._stride, self._weight)
            self._counts += torch.bincount(self._codes(values.float()), weights, self.bins).cpu()

    def _codes(self, x: Tensor) -> Tensor:
        """Bins of elements within the fitted range; exact, because scaling by powers of two is."""
        return (x * 2.0**-self.exponent).ceil_().sub_(self.start + 1).to(torch.int32)

    def _count(self, x: Tensor, weight: float) -> None:
        found = torch.bincount(self._codes(x), minlength=self.bins).cpu()
        zero = -self.start - 1
        zeros = int(found[zero])
        if self.range.low < 0 and zeros:  # the bin holds small negative values as well
            zeros = x.numel() - int(torch.count_nonzero(x))
        found[zero] -= zeros
        self._counts.add_(found, alpha=weight)
        self._zeros += zeros * weight

    def _fit(self, low: float, high: float, least: int = MIN_EXPONENT) -> None:
        """Widen the bins to 2^``least`` or more until [low, high] fits, merging what was counted."""
        span = high - low
        wanted = max(self.exponent, least, math.ceil(math.log2(span / self.bins)) if span > 0 else MIN_EXPONENT)
        wanted = min(wanted, MAX_EXPONENT)
        while math.ceil(high / 2.0**wanted) - math.ceil(low / 2.0**wanted) >= self.bins:
            wanted += 1
        start = math.ceil(low / 2.0**wanted) - 1
        if (wanted, start) == (self.exponent, self.start):
            return
        self._move(wanted, start)

    def _move(self, exponent: int, start: int) -> None:
        held = torch.nonzero(self._counts).flatten()
        places = ((held + self.start) >> min(exponent - self.exponent, 62)) - start
        moved = torch.zeros_like(self._counts).index_add_(0, places, self._counts[held])
        self._counts = moved
        self.exponent = exponent
        self.start = start

    def trimmed(self, tight: bool = True) -> tuple[Tensor, Tensor]:
        """``edges`` and ``counts`` of the bins between the first and the last that hold anything or touch zero.

        ``tight`` draws the outermost edges in to the exact range, where clamped activations (ReLU6) pile up.
        """
        counts = self.counts.clamp(min=0)
        held = torch.nonzero(counts).flatten().tolist()
        zero = -self.start - 1
        first = min([*held[:1], zero])
        last = max([*held[-1:], zero])
        edges = self.edges[first : last + 2]
        if tight and last > first:
            low, high = self.range.with_zero()
            least = 1e-3 * self.width
            edges[0] = min(max(float(edges[0]), low), float(edges[1]) - least)
            edges[-1] = max(min(float(edges[-1]), high), float(edges[-2]) + least)
        return edges, counts[first : last + 1]

    def state(self) -> dict[str, Tensor]:
        counts = self.counts.clone()
        numbers = torch.tensor([self._zeros, self.exponent, self.start, self.updates], dtype=torch.float64)
        return {"counts": counts, "numbers": numbers} | self.range.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._waiting = 0
        self._tails = []
        self._counts = state["counts"].clone()
        self.bins = self._counts.numel()
        zeros, exponent, start, updates = state["numbers"].tolist()
        self._zeros, self.exponent, self.start, self.updates = zeros, int(exponent), int(start), int(updates)
        self.range.load_state(state)

    def merge(self, states: Sequence[dict[str, Tensor]]) -> None:
        """Become the histogram of all that was counted in ``states``; exact, as bins are merged, never split."""
        parts = []
        for state in states:
            part = Histogram(self.bins)
            part.load_state(state)
            if part.range.low <= part.range.high:
                parts.append(part)
        self.range.merge(states)
        if not parts:
            return
        least = max(part.exponent for part in parts)
        ends = self.range.with_zero()
        for part in parts:
            part._fit(*ends, least)
        self._waiting = 0
        self._tails = []
        self._counts = torch.stack([part._counts for part in parts]).sum(0)
        self._zeros = sum(part._zeros for part in parts)
        self.updates = sum(part.updates for part in parts)
        self.exponent = parts[0].exponent
        self.start = parts[0].start
