"""The orthogonal matrix that makes the rows of several weights flat, so that coarse steps lose less of them.

Weights W (rows, n, m) that read a space become W Q^T, weights (n, m) that write it Q W. A row of 4 bits has 15 levels
between its largest magnitudes: its rounding error is proportional to the square of those over that of the row, so the
flattest rows are the best. With a soft maximum, p = 8::

    minimise over Q   sum_l log sum_r (mean_k |w_lrk|^p)^(2/p) / sum_rk w_lrk^2,    Q = (I + S)^-1 (I - S) Q0

S is skew-symmetric, so Q stays orthogonal (Cayley transform: Wen and Yin, Mathematical Programming 142, 2013); Q0 is
random. Liu et al., "SpinQuant", ICLR 2025 (arXiv:2405.16406) learn rotations so, there on the loss of the whole
network. Here no data is needed and seconds are enough: the 50 layers of EfficientNet-Lite0 take 15 s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Matrix = npt.NDArray[np.float64]

POWER = 8
STEPS = 100
RATE = 0.02
"""Of Adam on S, falling to 0."""
WORK = 2e12
"""Multiplications that one space may cost, about half a minute on one core; the first steps gain the most."""
FEWEST = 20
"""Steps that even a space of thousands of channels gets."""


def flat_rotation(writers: Sequence[Matrix], readers: Sequence[Matrix], *, steps: int = STEPS, seed: int = 0) -> Matrix:
    """Orthogonal (n, n), float64. ``writers``: (n, m) each; ``readers``: (rows, n, m) each; ``steps`` 0 is Q0.

    The identity for weights that are not finite, which calibration names.
    """
    n = writers[0].shape[0] if writers else readers[0].shape[1]
    generator = torch.Generator().manual_seed(seed)
    start = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator))[0].float()
    out, into = [[_normalized(w) for w in part] for part in (writers, readers)]
    skew = torch.zeros(n, n, requires_grad=True)
    optimizer = torch.optim.Adam([skew], lr=RATE)
    steps = affordable(steps, n, sum(w.numel() for w in out + into))
    with torch.enable_grad():
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)
            loss = peakedness(_cayley(skew, start), out, into)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    found = _cayley(skew.detach(), start).double()
    if not bool(found.isfinite().all()):
        return np.eye(n)
    u, _, vh = torch.linalg.svd(found)
    return np.asarray((u @ vh).numpy())


def _normalized(weight: Matrix) -> Tensor:
    """float32, of mean square 1 (a weight of zeros stays): its eighth powers do not overflow."""
    with np.errstate(invalid="ignore", over="ignore"):
        size = float(np.sqrt(np.square(weight).mean()))
        return torch.from_numpy(weight / (size or 1.0)).float()


def affordable(steps: int, size: int, elements: int) -> int:
    """As many of ``steps`` as stay below WORK, or FEWEST: a space of ``size`` with ``elements`` weights around it."""
    one = 6.0 * size * (elements + size**2)
    return min(steps, max(FEWEST, int(WORK / one)))


def peakedness(rotation: Tensor, writers: Sequence[Tensor], readers: Sequence[Tensor]) -> Tensor:
    """The sum over all weights, rotated, of the logarithm of their soft squared maxima over their mean squares."""
    rows = [rotation @ w for w in writers]
    rows += [torch.einsum("ij,rjm->rim", rotation, w).flatten(1) for w in readers]
    total = rotation.new_zeros(())
    for w in rows:
        largest = (w.abs().pow(POWER).mean(1) + 1e-20).pow(2 / POWER)
        total = total + torch.log(largest.sum() * w.shape[1] / w.square().sum().clamp(min=1e-20))
    return total


def _cayley(skew: Tensor, start: Tensor) -> Tensor:
    half, one = (skew - skew.t()) / 2, torch.eye(len(skew))
    return torch.linalg.solve(one + half, one - half) @ start
