"""What calibration asks of an observer, and the exact running range that most observers build upon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.core.grid import Grid, PerTensor


@runtime_checkable
class Observer(Protocol):
    """Watches one tensor over many batches in O(1) or O(bins) memory and proposes its per-tensor encoding."""

    grid: Grid

    def update(self, x: Tensor) -> None:
        """Take a batch of any shape, dtype and device. Raises InputError on NaN, infinity or an empty tensor."""

    def encoding(self) -> Encoding:
        """Encoding for everything seen so far. Raises InputError when nothing was seen."""

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on later, as CPU tensors."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`state` returned."""

    def merge(self, states: Sequence[dict[str, Tensor]]) -> None:
        """Become the observer that has seen what those of ``states`` have seen: the other processes' and one's own."""


def require_per_tensor(grid: Grid) -> None:
    """Guard of all observers: activations have one integer scale a tensor."""
    if grid.is_float or not isinstance(grid.granularity, PerTensor):
        raise EncodingError(f"observers need an integer per-tensor grid, not {grid}; weights have core.encoding_of")


def finite_range(x: Tensor) -> tuple[float, float]:
    """Smallest and largest element. Raises InputError on an empty tensor, NaN or infinity."""
    require_elements(x)
    low, high = (float(v) for v in torch.aminmax(x))
    require_finite(low, high)
    return low, high


def require_elements(x: Tensor) -> None:
    """Guard against zero-size tensors."""
    if x.numel() == 0:
        raise InputError("an empty tensor was observed; check the shapes of the calibration data")


def require_finite(low: float, high: float) -> None:
    """Guard against NaN and infinity, which extremes let through."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError("NaN or infinite values were observed; check the model and the calibration data")


class Range:
    """Exact running minimum and maximum of everything seen. Empty while ``low > high``."""

    def __init__(self) -> None:
        self.low = math.inf
        self.high = -math.inf

    def add(self, low: float, high: float) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)

    def merge(self, states: Sequence[dict[str, Tensor]]) -> None:
        """The union of the ranges in ``states``."""
        self.low = math.inf
        self.high = -math.inf
        for state in states:
            self.add(*state["range"].tolist())

    def with_zero(self) -> tuple[float, float]:
        """The range extended to include zero. Raises InputError when nothing was seen."""
        if self.low > self.high:
            raise InputError("no calibration data reached this tensor; pass at least one batch")
        return min(self.low, 0.0), max(self.high, 0.0)

    def state(self) -> dict[str, Tensor]:
        return {"range": torch.tensor([self.low, self.high], dtype=torch.float64)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.low, self.high = state["range"].tolist()
