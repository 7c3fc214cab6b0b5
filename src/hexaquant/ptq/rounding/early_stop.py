"""The best integers that an iteration has seen, by held-out error, and when to give up."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from hexaquant.ptq.rounding.coordinate_descent import Integers

PATIENCE = 3
"""Looks without a better error after which iterating ends."""


class Best:
    """Without an ``error`` function the last integers are the best."""

    def __init__(self, error: Callable[[Tensor], float] | None) -> None:
        self._error, self._least, self._misses = error, math.inf, 0
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
            self._found, self._least, self._misses = found, now, 0
        else:
            self._misses += 1

    def is_over(self, Q: Tensor, S: Tensor) -> bool:
        """Look, and say whether the error has stopped falling."""
        self.see(Q, S)
        return self._misses >= PATIENCE
