"""Random rounding problems with correlated inputs, for the tests of the mathematics."""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.ptq.rounding.moments import Gram, Inputs, Moments

LOW, HIGH = -8, 7


def correlated(K: int, n: int, groups: int = 1, seed: int = 0) -> Tensor:
    """Columns (g, K, n) whose rows correlate and have means."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(groups, K, K, generator=generator) / K**0.5
    return torch.relu(mixing @ torch.randn(groups, K, n, generator=generator) + 0.3)


def weights(O: int, K: int, groups: int = 1, seed: int = 1) -> Tensor:
    return torch.randn(groups, O, K, generator=torch.Generator().manual_seed(seed))


def steps(W: Tensor) -> Tensor:
    """One step a row (g, O, 1), as min-max gives."""
    return W.abs().amax(2, keepdim=True) / HIGH


def gram(X: Tensor, Y: Tensor, centered: bool = True, chunks: int = 1) -> Gram:
    parts = list(zip(X.chunk(chunks, 2), Y.chunk(chunks, 2), strict=True))
    inputs = Inputs(parts[0][0], centered)
    moments = Moments(inputs, parts[0][1], centered)
    for x, y in parts:
        shifted = inputs.shifted(x)
        inputs.update(shifted)
        moments.update(shifted, y)
    inputs.finish()
    return moments.gram()


def output_error(X: Tensor, Y: Tensor, Wq: Tensor) -> float:
    """Mean squared error of the outputs with the best bias."""
    error = Y - Wq @ X
    return float((error - error.mean(2, keepdim=True)).square().mean())
