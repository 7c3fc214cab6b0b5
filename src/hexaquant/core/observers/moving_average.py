"""Exponential moving average of each batch's range, as in TensorFlow's and PyTorch's QAT observers.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference" (arXiv:1712.05877), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.core.grid import Grid
from hexaquant.core.observers.min_max import MinMaxObserver
from hexaquant.core.observers.observer import finite_range


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
