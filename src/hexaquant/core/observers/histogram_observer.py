"""What the observers that search a clip range in a streamed histogram have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.grid import Grid
from hexaquant.core.observers.histogram import Histogram
from hexaquant.core.observers.observer import require_per_tensor


class HistogramObserver(ABC):
    """Base: streams a histogram of ``bins``; :meth:`clip` narrows the range that was seen."""

    def __init__(self, grid: Grid, bins: int = 2048) -> None:
        require_per_tensor(grid)
        self.grid = grid
        self.histogram = Histogram(bins)

    def update(self, x: Tensor) -> None:
        self.histogram.add(x)

    def encoding(self) -> Encoding:
        low, high = self.histogram.range.with_zero()
        if low < high and float(self.histogram.counts.sum()) > 0:
            return self.clip(low, high)
        return encoding_from_range(torch.tensor(low), torch.tensor(high), self.grid)

    @abstractmethod
    def clip(self, low: float, high: float) -> Encoding:
        """The encoding for a histogram that is not empty; ``low`` <= 0 <= ``high`` is the range seen."""

    def state(self) -> dict[str, Tensor]:
        return self.histogram.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.histogram.load_state(state)

    def merge(self, states: Sequence[dict[str, Tensor]]) -> None:
        self.histogram.merge(states)
