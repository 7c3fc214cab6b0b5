"""The range of masked attention scores: what counts behind the Softmax, and room below it for what is masked.

An entry ``margin`` below the largest of its row is nothing behind the Softmax, masked or not: it counts as ``margin``
below. The grid has to end ``margin`` below the largest entry of the lowest row; what is masked then saturates there.
Where calibration showed no masks, any entry may be the largest that a mask leaves of its row: ``margin`` below the
lowest of all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.observers.observer import Observer, finite_range


class ScoresObserver:
    """Shows ``inner`` the scores that count; the lower end of its encoding moves to where masked ones vanish.

    ``axis``: along which the Softmax goes, from the end; None where it is unknown: then every entry counts that is not
    masked, and the lower end is ``margin`` below the lowest. ``never``: what is below is masked; a row in which all is
    masked counts for nothing.
    """

    def __init__(self, inner: Observer, margin: float, axis: int | None, never: float) -> None:
        self.inner = inner
        self.grid = inner.grid
        self.margin = margin
        self.axis = axis
        self.never = never
        self.lowest_row = math.inf
        self.lowest = math.inf
        self.masks = False

    def update(self, x: Tensor) -> None:
        finite_range(x)
        top = x if self.axis is None else x.amax(self.axis, keepdim=True)
        alive = top > self.never
        if not bool(alive.any()):
            return
        kept = x[x > self.never]
        self.masks |= kept.numel() < x.numel()
        self.lowest_row = min(self.lowest_row, float(top[alive].min()))
        self.lowest = min(self.lowest, float(kept.min()))
        if self.axis is not None:
            x = torch.maximum(x, top - self.margin)
        self.inner.update(x[alive.expand_as(x)])

    def encoding(self) -> Encoding:
        found = self.inner.encoding()
        lowest = self.lowest_row if self.masks else self.lowest
        return encoding_from_range(torch.tensor(lowest - self.margin), found.max, self.grid)

    def state(self) -> dict[str, Tensor]:
        own = [self.lowest_row, self.lowest, float(self.masks)]
        return self.inner.state() | {"scores": torch.tensor(own, dtype=torch.float64)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.inner.load_state(state)
        self._take([state])

    def merge(self, states: Sequence[dict[str, Tensor]]) -> None:
        self.inner.merge(states)
        self._take(states)

    def _take(self, states: Sequence[dict[str, Tensor]]) -> None:
        own = torch.stack([state["scores"] for state in states])
        self.lowest_row = float(own[:, 0].min())
        self.lowest = float(own[:, 1].min())
        self.masks = bool(own[:, 2].any())
