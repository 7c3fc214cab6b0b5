"""AdaRound and FlexRound: rounding learned by gradient descent on the output error of a layer."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hexaquant.ptq.rounding.coordinate_descent import Integers, nearest

# The best integers that an iteration has seen, by held-out error, and when to give up.

PATIENCE = 3
"""Looks without a better error after which iterating ends."""


class Best:
    """Without an ``error`` function the last integers are the best."""

    def __init__(self, error: Callable[[Tensor], float] | None) -> None:
        self._error = error
        self._least = math.inf
        self._misses = 0
        self._found: Integers | None = None

    @property
    def integers(self) -> Integers:
        if self._found is None:
            raise ValueError("no integers were seen")
        return self._found

    def see(self, Q: Tensor, S: Tensor) -> None:
        """Look at the integers ``Q`` on steps ``S``."""
        found = Integers(Q, S.expand_as(Q).contiguous())
        now = -math.inf if self._error is None else self._error(found.values)
        if now < self._least or self._error is None:
            self._found = found
            self._least = now
            self._misses = 0
        else:
            self._misses += 1

    def is_over(self, Q: Tensor, S: Tensor) -> bool:
        """Look, and say whether the error has stopped falling."""
        self.see(Q, S)
        return self._misses >= PATIENCE


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


# FlexRound: rounding learned by dividing each weight by a factor of its own before it is rounded.
#
# Lee et al., "FlexRound: Learnable Rounding based on Element-wise Division for Post-Training Quantization", ICML 2023
# (arXiv:2306.00317), equation 2:  Wq = s1 clip(round(W / (s1 S2))),  with one s1 per row and one S2 a weight, both
# learned. A large weight may move by more than one step. E and its gradient are as in adaround.py; rounding passes
# gradients straight through. Both factors are learned as logarithms.

RATE_FLEXROUND = 0.002


def flexround(
    W: Tensor,
    H: Tensor,
    G: Tensor,
    S: Tensor,
    low: int,
    high: int,
    *,
    iterations: int = 200,
    fixed_steps: bool = False,
    smallest: Tensor | None = None,
    error: Callable[[Tensor], float] | None = None,
) -> Integers:
    """Integers for W (g, O, K) from steps S (g, O, K) or (g, O, 1); a row's steps change by one factor.

    ``fixed_steps``: they do not; ``smallest`` (g, O, 1): they stay above; ``error``: see adaround; without it E itself
    says which integers were the best.
    """
    factors = torch.zeros_like(W)
    row = torch.zeros_like(W[..., :1])
    norm = 1 / torch.diagonal(H, dim1=1, dim2=2).sum(1)[:, None, None].clamp(min=1e-20)
    optimizer = torch.optim.Adam([factors, row], lr=RATE_FLEXROUND)
    best = Best(error or (lambda Wq: float(((Wq @ H - 2 * G) * Wq).sum())))
    for step in range(iterations + 1):
        s1 = S * row.exp()
        if smallest is not None:
            s1 = torch.maximum(s1, smallest)
        u = W / s1 * (-factors).exp()
        Q = torch.round(u).clamp_(low, high)
        if step == iterations or (step % LOOK == 0 and best.is_over(Q, s1)):
            best.see(Q, s1)
            break
        by_weight = 2 * ((Q * s1) @ H - G) * s1 * norm
        inside = (u > low - 0.5) & (u < high + 0.5)
        passed = torch.where(inside, by_weight * u, torch.zeros_like(u))
        factors.grad = -passed
        row.grad = torch.zeros_like(row) if fixed_steps else (by_weight * Q - passed).sum(2, keepdim=True)
        optimizer.param_groups[0]["lr"] = RATE_FLEXROUND * (1 - step / iterations)
        optimizer.step()
    return best.integers
