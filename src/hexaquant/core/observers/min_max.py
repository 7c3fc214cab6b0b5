"""Observers of ranges that are read off extremes: min-max, moving average, whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.errors import InputError
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


# Exponential moving average of each batch's range, as in TensorFlow's and PyTorch's QAT observers.
#
# Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
# Inference" (arXiv:1712.05877), section 3.1.


class MovingAverageObserver(MinMaxObserver):
    """``momentum`` is what remains of the old range at each batch; the first batch is taken as it is."""

    def __init__(self, grid: Grid, momentum: float = 0.9) -> None:
        super().__init__(grid)
        if not 0 <= momentum < 1:
            raise InputError(f"momentum must lie in [0, 1), not {momentum}")
        self.momentum = momentum

    def update(self, x: Tensor) -> None:
        low, high = finite_range(x)
        if self.range.low > self.range.high:
            self.range.add(low, high)
            return
        m = self.momentum
        self.range.low = m * self.range.low + (1 - m) * low
        self.range.high = m * self.range.high + (1 - m) * high

    def merge(self, states: Sequence[dict[str, Tensor]]) -> None:
        """The mean of the averages, each over one process's batches."""
        ranges = torch.stack([state["range"] for state in states])
        seen = ranges[ranges[:, 0] <= ranges[:, 1]]
        if len(seen):
            self.range.low, self.range.high = seen.mean(0).tolist()


# Whole: for tensors that hold integers (outputs of Round, Floor, Ceil, Sign), which then lie exactly on the grid.
#
# With any other scale 1 is stored as 0.99998, of which a Floor or a comparison makes something else on the target than
# in the simulation, and in both something else than in the float network.


class WholeObserver(MinMaxObserver):
    """The observed range, to whole numbers, the scale rounded up to a power of two; min-max where it exceeds 1."""

    def encoding(self) -> Encoding:
        low, high = (torch.tensor(end) for end in self.range.with_zero())
        low = torch.floor(low)
        high = torch.ceil(high)
        encoding = encoding_from_range(low, high, self.grid)
        scale = torch.exp2(torch.ceil(torch.log2(encoding.scale)))
        if self.grid.is_float or float(scale) > 1:
            return encoding
        return replace(encoding, scale=scale, offset=encoding.offset if self.grid.symmetric else low / scale)
