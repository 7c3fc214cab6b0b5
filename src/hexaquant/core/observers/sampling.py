"""Every k-th element of a large tensor and all of its tails, for histograms.

Deterministic and unbiased over updates: k is a prime that does not divide the number of elements, hence is
coprime with every dimension, so that the samples walk through all channels, rows and columns; the phase moves
on with each update, so that k updates of the same tensor would visit every element once. Clipping is decided by
few elements far out, which a sample sees badly; so the largest and smallest (at least one in ROW * TAIL_ROWS) are
found by the extremes of rows of ROW elements, as fast as a plain maximum, and counted one by one. Measured on
Gaussian, Laplace and Student-t data, the MSE of the resulting clip is within 0.3 % of the full histogram's
(without the tails it was up to 50 % worse).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

WHOLE = 1 << 16
"""Tensors of at most this many elements are taken whole: sampling them would cost as much."""

STRIDES = ((1 << 18, 17), (1 << 62, 37))
"""Number of elements up to which about one element in so many is taken of larger tensors."""

ROW = 64
TAIL_ROWS = 128
"""Row length of the search for tails; one row in TAIL_ROWS is looked at element by element."""


@dataclass(frozen=True)
class Tail:
    """Rows that hold all elements beyond ``bound`` on one side (the lower side negated), still to be picked out.

    ``rows`` (R, ROW); ``places`` (R,) of their first elements, counted from the first sampled one; ``side`` 1 or -1.
    """

    rows: Tensor
    places: Tensor
    bound: Tensor
    side: int


@dataclass(frozen=True)
class Sample:
    """``taken`` (m,), every ``stride``-th element, each standing for ``weight``; exact range; the tails beside it."""

    low: float
    high: float
    taken: Tensor
    stride: int = 1
    weight: float = 1.0
    tails: tuple[Tail, ...] = ()


def flat(x: Tensor) -> Tensor:
    """All elements in memory order where that needs no copy (contiguous, channels-last), else in logical order."""
    if x.is_contiguous():
        return x.view(-1)
    by_stride = sorted(range(x.dim()), key=x.stride, reverse=True)
    return x.permute(by_stride).reshape(-1)


@lru_cache(maxsize=4096)
def stride_for(n: int) -> int:
    """The sampling stride k: 1, or the first prime from that of STRIDES on which does not divide ``n``."""
    if n <= WHOLE:
        return 1
    k = next(k for most, k in STRIDES if n <= most)
    while n % k == 0 or any(k % d == 0 for d in range(2, int(k**0.5) + 1)):
        k += 1
    return k


def sample(x: Tensor, phase: int) -> Sample:
    """Exact range (NaN if ``x`` holds NaN) and sample of a non-empty tensor; views of ``x`` where possible."""
    every = flat(x)
    k = stride_for(every.numel())
    if k > 1:
        return _sample_with_tails(every, k, phase % k)
    low, high = (float(v) for v in torch.aminmax(every))
    return Sample(low, high, every)


def _sample_with_tails(every: Tensor, k: int, phase: int) -> Sample:
    whole = every.numel() - every.numel() % ROW
    rows = every[:whole].view(-1, ROW)
    bottoms = rows.amin(1)
    tops = rows.amax(1)
    low = float(bottoms.amin())
    high = float(tops.amax())
    if whole < every.numel():
        rest = every[whole:]
        low = float(torch.cat([bottoms, rest]).amin())
        high = float(torch.cat([tops, rest]).amax())
    tails = []
    if high > 0:
        tails.append(_tail(rows, tops, phase, 1))
    if low < 0:
        tails.append(_tail(rows, bottoms, phase, -1))
    taken = every[phase::k]
    return Sample(low, high, taken, k, every.numel() / taken.numel(), tuple(tails))


def _tail(rows: Tensor, ends: Tensor, phase: int, side: int) -> Tail:
    """One in TAIL_ROWS of the rows: those with the most extreme ``ends``. The last of them sets the bound."""
    best = ends.topk(ends.numel() // TAIL_ROWS + 1, largest=side > 0)
    picked = rows[best.indices]
    bound = best.values[-1:]
    if side < 0:
        picked = picked.neg_()
        bound = -bound
    bound = bound.clamp(min=0)  # zeros belong to the sample
    return Tail(picked, best.indices * ROW - phase, bound.expand(picked.shape[0]), side)


def corrections(tails: list[Tail], stride: int, weight: float) -> tuple[Tensor, Tensor]:
    """Values beyond the bounds and the weights that, added to the sample's, make each count exactly once."""
    rows, places, bounds = (torch.cat(v) for v in zip(*((t.rows, t.places, t.bound) for t in tails)))
    row, column = (rows > bounds[:, None]).nonzero(as_tuple=True)
    sides = torch.cat([t.places.new_full(t.places.shape, t.side) for t in tails])
    sampled = (places[row] + column) % stride == 0
    return rows[row, column] * sides[row], 1 - weight * sampled.double()
