"""Every k-th element of a large tensor and all of its tails, for histograms.

Deterministic and unbiased over updates: k is a prime that does not divide the number of elements, hence is
coprime with every dimension, so that the samples walk through all channels, rows and columns; the phase moves
on with each update, so that k updates of the same tensor would visit every element once. Clipping is decided by
few elements far out, which a sample sees badly; so the largest and smallest are found by the extremes of rows of
ROW elements (as fast as a plain maximum) and counted one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

ALWAYS = 1 << 14
"""Tensors of at most this many elements are taken whole."""

SHARE = 16
"""Larger ones give max(ALWAYS, 1/SHARE of their elements)."""

ROW = 64
"""Row length of the search for tails; one row in ROW is looked at element by element."""


@dataclass(frozen=True)
class Sample:
    """``taken`` (m,) each standing for ``weight`` elements; ``tails`` with the weights that make their count exact."""

    low: float
    high: float
    taken: Tensor
    weight: float = 1.0
    tails: Tensor | None = None
    tail_weights: Tensor | None = None


def flat(x: Tensor) -> Tensor:
    """All elements in memory order where that needs no copy (contiguous, channels-last), else in logical order."""
    if x.is_contiguous():
        return x.view(-1)
    by_stride = sorted(range(x.dim()), key=x.stride, reverse=True)
    return x.permute(by_stride).reshape(-1)


@lru_cache(maxsize=4096)
def stride_for(n: int) -> int:
    """The sampling stride k for ``n`` elements: 1, or the first prime >= n / max(ALWAYS, n / SHARE) not dividing n."""
    if n <= ALWAYS:
        return 1
    k = max(2, min(SHARE, -(-n // ALWAYS)))
    while n % k == 0 or any(k % d == 0 for d in range(2, int(k**0.5) + 1)):
        k += 1
    return k


def sample(x: Tensor, phase: int) -> Sample:
    """Exact range (NaN if ``x`` holds NaN) and sample of a non-empty tensor; views of ``x`` where possible."""
    every = flat(x)
    n = every.numel()
    k = stride_for(n)
    if k == 1:
        low, high = (float(v) for v in torch.aminmax(every))
        return Sample(low, high, every)
    taken = every[phase % k :: k]
    weight = n / taken.numel()
    rows, rest = every[: n - n % ROW].view(-1, ROW), every[n - n % ROW :]
    tops, bottoms = rows.amax(1), rows.amin(1)
    low, high = float(torch.cat([bottoms, rest]).amin()), float(torch.cat([tops, rest]).amax())
    found = [_tail(rows, tops, largest=True), _tail(rows, bottoms, largest=False)]
    values, places = (torch.cat(part) for part in zip(*found))
    tail_weights = 1 - weight * (places % k == phase % k).float()
    return Sample(low, high, taken, weight, values, tail_weights)


def _tail(rows: Tensor, ends: Tensor, largest: bool) -> tuple[Tensor, Tensor]:
    """Elements beyond all but one in ROW of the row extremes ``ends``, and their places in the flat tensor."""
    best = ends.topk(ends.numel() // ROW + 1, largest=largest, sorted=False)
    bound = best.values.amin() if largest else best.values.amax()
    picked = rows[best.indices]
    beyond = picked > bound if largest else picked < bound
    places = best.indices[:, None] * ROW + torch.arange(ROW, device=rows.device)
    return picked[beyond], places[beyond]
