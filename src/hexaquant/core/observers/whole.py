"""Whole: for tensors that hold integers (outputs of Round, Floor, Ceil, Sign), which then lie exactly on the grid.

With any other scale 1 is stored as 0.99998, of which a Floor or a comparison makes something else on the target than in
the simulation, and in both something else than in the float network.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.observers.min_max import MinMaxObserver


class WholeObserver(MinMaxObserver):
    """The observed range, to whole numbers, the scale rounded up to a power of two; min-max where it exceeds 1."""

    def encoding(self) -> Encoding:
        low, high = (torch.tensor(end) for end in self.range.with_zero())
        low, high = torch.floor(low), torch.ceil(high)
        encoding = encoding_from_range(low, high, self.grid)
        scale = torch.exp2(torch.ceil(torch.log2(encoding.scale)))
        if self.grid.is_float or float(scale) > 1:
            return encoding
        return replace(encoding, scale=scale, offset=encoding.offset if self.grid.symmetric else low / scale)
