"""Weights that jump between two integers: how often they do, and two ways to stop them. Mathematics on tensors.

Nagel et al., "Overcoming Oscillations in Quantization-Aware Training", ICML 2022 (arXiv:2203.11086). A weight
oscillates at step t when its integer changes and the change is opposite to its last one (section 2.3); with momentum m
its frequency is f <- m o + (1 - m) f (equation 4).

* Dampening (equation 5): the loss gets lambda |w^ - clip(w, n s, p s)|^2, w^ without gradient, which draws weights to
  the middle of their interval. Here in units of s and averaged, so that lambda does not depend on the weights' size.
* Iterative freezing (algorithm 1): once f exceeds a threshold the integer stays at the rounded moving average of
  the integers. The threshold falls along a cosine.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding
from hexaquant.core.grid import round_half_even

MOMENTUM = 0.01
"""m: what a single oscillation adds to the frequency (section 5 of the paper)."""
START_RATIO = 4.0
"""The threshold's first value over its last one (0.04 and 0.01 in the paper)."""


def dampening(w: Tensor, encoding: Encoding) -> Tensor:
    """Mean of ((w^ - clip(w, n s, p s)) / s)^2, a scalar between 0 and 1/4; gradient for ``w`` only."""
    step, offset = (t.to(w.device) for t in encoding.expanded(w.shape))
    low = offset * step
    high = (offset + (encoding.grid.levels - 1)) * step
    inside = torch.minimum(torch.maximum(w, low), high)
    with torch.no_grad():
        middle = (round_half_even(w / step)).clamp(offset, offset + (encoding.grid.levels - 1)) * step
    return ((middle - inside) / step).square().mean()


def rising(step: int, steps: int) -> float:
    """Factor of lambda: from 0 to 1 along half a cosine (the paper's schedule)."""
    return 0.5 * (1 - math.cos(math.pi * step / max(1, steps)))


def threshold(step: int, steps: int, last: float) -> float:
    """The freezing threshold at ``step``: from START_RATIO times ``last`` down to ``last`` along half a cosine."""
    return last * (START_RATIO - (START_RATIO - 1) * rising(step, steps))


class Tracker:
    """Follows one weight's integers. All tensors have the weight's shape.

    ``integers``: at the last step; ``direction``: sign of the last change; ``frequency``: f; ``average``: moving
    average of the integers; ``held``: the integer at which a weight is frozen, -1 where it is free.
    """

    FIELDS = ("integers", "direction", "frequency", "average", "held")

    def __init__(self, w: Tensor, encoding: Encoding) -> None:
        self.integers = encoding.quantize(w.detach().float())
        self.direction = torch.zeros_like(self.integers)
        self.frequency = torch.zeros_like(self.integers)
        self.average = self.integers.clone()
        self.held = torch.full_like(self.integers, -1.0)

    @property
    def frozen(self) -> Tensor:
        """Which weights are frozen."""
        return self.held >= 0

    @torch.no_grad()
    def follow(self, w: Tensor, encoding: Encoding, limit: float | None) -> None:
        """Take note of ``w`` after a step; with ``limit`` freeze what oscillates more often, and hold it there."""
        now = encoding.quantize(w.detach().float())
        change = torch.sign(now - self.integers)
        oscillates = (change != 0) & (change == -self.direction)
        self.frequency.mul_(1 - MOMENTUM).add_(oscillates, alpha=MOMENTUM)
        self.direction = torch.where(change != 0, change, self.direction)
        self.average.lerp_(now, MOMENTUM)
        self.integers = now
        if limit is None:
            return
        newly = (self.frequency > limit) & ~self.frozen
        self.held = torch.where(newly, round_half_even(self.average), self.held)
        self.hold(w, encoding)
        self.integers = torch.where(self.frozen, self.held, self.integers)

    @torch.no_grad()
    def hold(self, w: Tensor, encoding: Encoding) -> None:
        """Put the frozen elements of ``w`` on their integers."""
        w.copy_(torch.where(self.frozen, encoding.dequantize(self.held).to(w.dtype), w))

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on later."""
        return {name: getattr(self, name) for name in self.FIELDS}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`state` returned."""
        for name in self.FIELDS:
            setattr(self, name, state[name].to(self.integers.device))
