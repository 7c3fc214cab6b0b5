"""What a graph's inputs want: name, dtype, shape, and which dimension is the batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph, shape_of
from hexaquant.ir.passes.clip_mask_inputs import mask_floor


@dataclass(frozen=True)
class InputSpec:
    """One graph input. ``shape`` has ints, symbol names or None (unknown); ``batched``: dimension 0 counts samples.

    ``floor``: the network takes what is below, infinity included, for this number (an attention mask).
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | str | None, ...]
    batched: bool = True
    floor: float | None = None

    @property
    def sample_shape(self) -> tuple[int | str | None, ...]:
        """Shape of one sample, without the batch."""
        return self.shape[1:] if self.batched else self.shape

    @property
    def fixed_batch(self) -> int | None:
        """The batch that the graph insists on, or None when it is symbolic."""
        first = self.shape[0] if self.batched and self.shape else None
        return first if isinstance(first, int) else None

    def static_sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample as ints. Raises InputError when a dimension is symbolic."""
        if not all(isinstance(d, int) for d in self.sample_shape):
            raise InputError(
                f"input '{self.name}' has dynamic dimensions {self.shape}; fix them with --shape {self.name}=..."
            )
        return tuple(int(d) for d in self.sample_shape if d is not None)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """True when an array of ``shape`` (batch included) can be fed."""
        wanted = (None, *self.sample_shape) if self.batched else self.shape
        return len(shape) == len(wanted) and all(not isinstance(w, int) or w == s for w, s in zip(wanted, shape))


def input_specs(graph: Graph) -> tuple[InputSpec, ...]:
    """The inputs of ``graph`` in order.

    When any input has a symbolic first dimension, those inputs are batched and the others are fed whole; otherwise
    all inputs whose first dimension equals the first input's are.
    """
    shapes = [shape_of(v) or () for v in graph.inputs]
    symbolic = any(s and not isinstance(s[0], int) for s in shapes)
    batch = next((s[0] for s in shapes if s), None)
    specs = []
    for value, shape in zip(graph.inputs, shapes):
        batched = bool(shape) and (not isinstance(shape[0], int) if symbolic else shape[0] == batch)
        dtype: npt.DTypeLike = value.dtype.numpy() if value.dtype is not None else np.float32
        specs.append(InputSpec(value.name or "", np.dtype(dtype), shape, batched, mask_floor(value)))
    return tuple(specs)
