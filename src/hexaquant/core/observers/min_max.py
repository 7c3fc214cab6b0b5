"""Min-max: the range is everything that was ever seen. The fastest observer; sensitive to outliers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.grid import Grid
from hexaquant.core.observers.observer import Range, finite_range, require_per_tensor


class MinMaxObserver:
    """Order and batching of the data do not change the result."""

    def __init__(self, grid: Grid) -> None:
        require_per_tensor(grid)
        self.grid = grid
        self.range = Range()

    def update(self, x: Tensor) -> None:
        self.range.add(*finite_range(x))

    def encoding(self) -> Encoding:
        low, high = self.range.with_zero()
        return encoding_from_range(torch.tensor(low), torch.tensor(high), self.grid)

    def state(self) -> dict[str, Tensor]:
        return self.range.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.range.load_state(state)

    def merge(self, states: Sequence[dict[str, Tensor]]) -> None:
        self.range.merge(states)
