"""Rounding that can still be learned: each weight lies softly between its present integer and the next one.

AdaRound's parametrisation (arXiv:2004.10568, equations 22 to 24) started from integers that were already chosen well:
the alternative of weight W on integer Q is the neighbour on W's side, and the soft value starts inside Q's half.
"""

from __future__ import annotations

import torch
from torch import Tensor

EDGE = 0.35
"""How far from its integer a weight starts at most; 0.5 would be undecided."""


class SoftRounding:
    """``V`` is what is learned. W, S, Q have the shape of the weight; Q is within low..high."""

    def __init__(self, W: Tensor, S: Tensor, Q: Tensor, low: int, high: int) -> None:
        self.S, self.low, self.high = S, low, high
        start = Q + (W / S - Q).clamp(-EDGE, EDGE)
        self.floor = torch.floor(start)
        part = (start - self.floor).clamp(0.01, 0.99)
        self.V = torch.logit((part + 0.1) / 1.2).requires_grad_()

    def soft(self) -> Tensor:
        """The soft weights, with a gradient for V."""
        return (self.floor + self._h()).clamp(self.low, self.high) * self.S

    def hard(self) -> Tensor:
        """The integers that the soft weights are nearest to."""
        return (self.floor + (self.V.detach() > 0)).clamp_(self.low, self.high)

    def undecided(self, beta: float) -> Tensor:
        """AdaRound's regularizer, averaged over the weights: 0 when each is at an integer."""
        return (1 - (2 * self._h() - 1).abs().pow(beta)).mean()

    def _h(self) -> Tensor:
        return (1.2 * torch.sigmoid(self.V) - 0.1).clamp(0, 1)
