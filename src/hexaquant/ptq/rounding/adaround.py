"""AdaRound: whether each weight is rounded up or down, learned by gradient descent on the output error.

Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020 (arXiv:2004.10568), equations
21 to 24: with V free, h(V) = clip(1.2 sigmoid(V) - 0.1, 0, 1) and the soft weights S (floor(W / S) + h(V)), minimise

    E(V) + lambda sum_ij (1 - |2 h(V_ij) - 1|^beta),   beta falling from 20 to 2.

E is the quadratic form of the layer's moments (moments.py) over its value at the nearest rounding, so that no data is
touched while iterating and the gradient is exact:  dE/dWq = 2 (Wq H - G).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hexaquant.ptq.rounding.coordinate_descent import Integers, nearest
from hexaquant.ptq.rounding.early_stop import Best

WEIGHT = 8.0
"""lambda, for E relative to the error of rounding to nearest and the regularizer averaged over the weights of a row."""

RATE = 0.1
LOOK = 20
"""Iterations between two looks at the held-out error."""


def adaround(
    W: Tensor,
    H: Tensor,
    G: Tensor,
    S: Tensor,
    low: int,
    high: int,
    *,
    iterations: int = 200,
    error: Callable[[Tensor], float] | None = None,
) -> Integers:
    """Integers for W (g, O, K) on steps S (g, O, K) or (g, O, 1).

    ``error``: held-out error of weights; the best integers it sees are returned, and iterating ends when it no longer
    falls. Without it those of the last iteration are.
    """
    scaled = W / S
    floor = torch.floor(scaled)
    V = _inverse(scaled - floor)
    norm = 1 / _excess(nearest(W, S, low, high).values, W, H).clamp(min=1e-20)
    optimizer = torch.optim.Adam([V], lr=RATE)
    best = Best(error)
    for step in range(iterations):
        soft = torch.sigmoid(V)
        h = (1.2 * soft - 0.1).clamp(0, 1)
        Q = (floor + h).clamp_(low, high)
        gradient = 2 * ((Q * S) @ H - G) * S * norm
        moving = (h > 0) & (h < 1)
        if step >= iterations // 5:
            beta = 20 - 18 * (step - iterations // 5) / max(iterations - iterations // 5, 1)
            away = 2 * h - 1
            gradient -= WEIGHT * 2 * beta * away.abs().pow(beta - 1) * away.sign() / W.shape[2]
        V.grad = torch.where(moving, gradient * 1.2 * soft * (1 - soft), torch.zeros_like(gradient))
        optimizer.step()
        if (step + 1) % LOOK == 0 and best.is_over((floor + (V > 0)).clamp_(low, high), S):
            break
    best.see((floor + (V > 0)).clamp_(low, high), S)
    return best.integers


def _inverse(part: Tensor) -> Tensor:
    """V with h(V) = ``part``, inside the range where h has a gradient."""
    return torch.logit(((part.clamp(0.01, 0.99)) + 0.1) / 1.2)


def _excess(Wq: Tensor, W: Tensor, H: Tensor) -> Tensor:
    """(g, O, 1): what rounding ``W`` to ``Wq`` adds to the error."""
    D = Wq - W
    return ((D @ H) * D).sum(2, keepdim=True)
