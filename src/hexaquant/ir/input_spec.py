"""What a graph's inputs want: name, dtype, shape, and which axis counts samples; and the one cutter of batches.

An axis is a batch only where the graph says so: a symbolic first dimension, the same symbol at another axis of another
input (a state of layers x batch x features), or a first dimension of 1. Any other input (a state of 2x1x128, 7x48
context tokens, a picture of 3x32x32, a time-major sequence) is one sample as a whole, and is never cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph, shape_of
from hexaquant.ir.passes.clip_mask_inputs import mask_floor

Shape = tuple[int | str | None, ...]
T = TypeVar("T", np.ndarray, torch.Tensor)

STATES = "hexaquant.states"
"""Key of ``Graph.model.metadata_props``: JSON of state inputs and the outputs that they are the last value of."""


@dataclass(frozen=True)
class InputSpec:
    """One graph input. ``shape`` has ints, symbol names or None (unknown).

    ``axis`` counts samples, None where an array of ``shape`` is one sample; ``state_of``: the output whose last value
    this input takes, so that data need not give it; ``floor``: the network takes what is below, infinity
    included, for this number (an attention mask).
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: Shape
    axis: int | None = 0
    state_of: str | None = None
    floor: float | None = None

    @property
    def batched(self) -> bool:
        """True when an axis counts samples."""
        return self.axis is not None

    @property
    def sample_shape(self) -> Shape:
        """Shape of one sample, without the batch."""
        return self.shape if self.axis is None else self.shape[: self.axis] + self.shape[self.axis + 1 :]

    @property
    def fixed_batch(self) -> int | None:
        """The batch that the graph insists on, or None when it is symbolic."""
        size = None if self.axis is None else self.shape[self.axis]
        return size if isinstance(size, int) else None

    @property
    def rows(self) -> int:
        """First dimension of an input that is one sample as a whole; 1 for others."""
        first = self.shape[0] if self.axis is None and self.shape else 1
        return first if isinstance(first, int) else 1

    def static_sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample as ints. Raises InputError when a dimension is symbolic."""
        if not all(isinstance(d, int) for d in self.sample_shape):
            raise InputError(
                f"input '{self.name}' has dynamic dimensions {self.shape}; fix them with --shape {self.name}=..."
            )
        return tuple(int(d) for d in self.sample_shape if d is not None)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """True when an array of ``shape`` (any number of samples along ``axis``) can be fed."""
        return _match(tuple(None if i == self.axis else d for i, d in enumerate(self.shape)), shape)

    def is_sample(self, shape: tuple[int, ...]) -> bool:
        """True when an array of ``shape`` is one sample without its batch axis."""
        return self.batched and _match(self.sample_shape, shape)

    def has_leading_samples(self, shape: tuple[int, ...]) -> bool:
        """True when an array of ``shape`` has an extra leading axis, each entry of which is one sample."""
        return self.fits(shape[1:]) and (self.axis is None or shape[1 + self.axis] == 1)


def _match(wanted: Shape, shape: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(not isinstance(w, int) or w == s for w, s in zip(wanted, shape))


def input_specs(graph: Graph) -> tuple[InputSpec, ...]:
    """The inputs of ``graph`` in order."""
    dtypes = [np.dtype(np.float32) if v.dtype is None else np.dtype(v.dtype.numpy()) for v in graph.inputs]
    named = [(v.name or "", dtype, shape_of(v) or ()) for v, dtype in zip(graph.inputs, dtypes)]
    states: dict[str, str] = json.loads(graph.model.metadata_props.get(STATES, "{}"))
    return tuple(
        replace(spec, state_of=states.get(spec.name), floor=mask_floor(value))
        for spec, value in zip(specs_of(named), graph.inputs, strict=True)
    )


def specs_of(inputs: Sequence[tuple[str, npt.DTypeLike, Shape]]) -> tuple[InputSpec, ...]:
    """The specifications of inputs by (name, dtype, shape).

    When any first dimension is symbolic, that symbol is the batch wherever it stands; otherwise a first dimension of 1
    is.
    """
    symbols = {shape[0] for _, _, shape in inputs if shape and not isinstance(shape[0], int)}
    return tuple(InputSpec(name, np.dtype(dtype), shape, _axis(shape, symbols)) for name, dtype, shape in inputs)


def _axis(shape: Shape, symbols: set[Any]) -> int | None:
    if not symbols:
        return 0 if shape and shape[0] == 1 else None
    if shape and not isinstance(shape[0], int):
        return 0
    return next((i for i, d in enumerate(shape) if d is not None and d in symbols), None)


def samples_of_a_run(specs: Sequence[InputSpec]) -> int | None:
    """How many samples the network runs at once: None for any number.

    One where an input is a sample as a whole, unless its first dimension is 1 (such an input is broadcast over the
    batch).
    """
    if not any(spec.batched for spec in specs) or any(spec.rows != 1 for spec in specs):
        return 1
    return next((s.fixed_batch for s in specs if s.fixed_batch is not None), None)


def sample_count(batch: Mapping[str, Any], specs: Sequence[InputSpec]) -> int:
    """Number of samples in ``batch``."""
    return next((int(batch[s.name].shape[s.axis]) for s in specs if s.axis is not None), 1)


def take(batch: Mapping[str, T], specs: Sequence[InputSpec], keep: Any) -> dict[str, T]:
    """The samples ``keep`` (a slice, or a list of indices) of a batch of arrays or tensors.

    An input without a batch axis stays whole.
    """
    return {s.name: batch[s.name] if s.axis is None else batch[s.name][_along(s.axis, keep)] for s in specs}


def _along(axis: int, keep: Any) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, keep)


def joined(parts: Sequence[Mapping[str, T]], specs: Sequence[InputSpec]) -> dict[str, T]:
    """One batch of the samples of ``parts``; inputs without a batch axis are those of the first."""
    return {s.name: _concatenated([p[s.name] for p in parts], s.axis) for s in specs}


def _concatenated(arrays: list[T], axis: int | None) -> T:
    if axis is None or len(arrays) == 1:
        return arrays[0]
    if isinstance(arrays[0], torch.Tensor):
        return torch.cat(arrays, axis)  # type: ignore[arg-type, return-value]
    return np.concatenate(arrays, axis)  # type: ignore[return-value]


def first_samples(
    batches: Iterable[Mapping[str, Any]], specs: Sequence[InputSpec], samples: int, chunk: int | None = None
) -> Iterable[dict[str, torch.Tensor]]:
    """The first ``samples`` samples as tensors, in pieces of at most ``chunk`` (None: batch by batch)."""
    left = samples
    for batch in batches:
        if left <= 0:
            return
        tensors = {name: torch.as_tensor(value) for name, value in batch.items()}
        size = min(sample_count(tensors, specs), left)
        step = size if chunk is None else chunk
        for start in range(0, size, step):
            yield take(tensors, specs, slice(start, min(start + step, size)))
        left -= size
