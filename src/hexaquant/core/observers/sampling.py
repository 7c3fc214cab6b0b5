"""Every k-th element of a large tensor, for histograms.

Deterministic and unbiased over updates: k is a prime that does not divide the number of elements, hence is
coprime with every dimension, so that the samples walk through all channels, rows and columns; the phase moves
on with each update, so that k updates of the same tensor would visit every element once.
"""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

ALWAYS = 1 << 14
"""Tensors of at most this many elements are taken whole."""

SHARE = 16
"""Larger ones give max(ALWAYS, 1/SHARE of their elements)."""


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


def sample(x: Tensor, phase: int) -> tuple[Tensor, float]:
    """One-dimensional sample of ``x`` (a view where possible) and how many elements each sampled one stands for."""
    every = flat(x)
    k = stride_for(every.numel())
    taken = every[phase % k :: k] if k > 1 else every
    return taken, every.numel() / taken.numel()
