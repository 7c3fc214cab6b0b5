"""Dataset: samples for calibration or evaluation, read lazily, as often as needed, checked against the graph."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hexaquant.core.errors import InputError
from hexaquant.io.batches import Array, Batch, Labelled, batches_of, rebatch, take_labelled
from hexaquant.ir.input_spec import InputSpec, sample_count, samples_of_a_run

HELD_OUT_EVERY = 5
"""One sample in five is held out; which one depends only on its position."""
HELD_OUT_AT = 1
"""Position in each five of the held-out sample: with two samples there is already one of each kind."""


@dataclass(frozen=True)
class Dataset:
    """``items()`` starts a new pass over the user's items; ``source`` names the data in messages.

    ``count``: number of samples when known beforehand. ``part``: None for all samples, else the held-out fifth or
    the rest; ``note``: what else a report should say of the data, such as which folder is which class; ``made``: what
    was made of the files, such as how pictures were preprocessed.
    """

    specs: tuple[InputSpec, ...]
    items: Callable[[], Iterable[Any]]
    source: str
    count: int | None = None
    part: str | None = None
    note: str = ""
    made: str = ""

    @property
    def samples(self) -> int | None:
        """Number of samples of this part; None when only a pass can tell."""
        if self.count is None:
            return None
        held = len(range(HELD_OUT_AT, self.count, HELD_OUT_EVERY))
        return {None: self.count, "held out": held, "rest": self.count - held}[self.part]

    @property
    def fixed_batch(self) -> int | None:
        """How many samples the graph runs at once, None where any number will do."""
        return samples_of_a_run(self.specs)

    def batch_count(self, batch_size: int) -> int | None:
        """Number of batches of a pass in batches of ``batch_size``; None when only a pass can tell."""
        fixed = self.fixed_batch
        if self.samples is None or (fixed is None and not all(spec.batched for spec in self.specs)):
            return None
        return -(-self.samples // (fixed or batch_size))

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def batches(self, batch_size: int | None = None) -> Iterator[Batch]:
        """One pass of batches. See :meth:`labelled`."""
        return (batch for batch, _ in self.labelled(batch_size))

    def labelled(self, batch_size: int | None = None) -> Iterator[Labelled]:
        """One pass of (batch, labels or None), in order.

        ``batch_size`` None keeps the user's batches, or takes the graph's batch where that is fixed. Raises
        InputError for bad items (io.batches), for data without samples, and when samples do not fill a fixed batch.
        """
        fixed = self.fixed_batch
        size = fixed or batch_size
        parts = self._selected()
        seen = 0
        for batch, labels in parts if size is None else rebatch(parts, self.specs, size):
            count = sample_count(batch, self.specs)
            if fixed is not None and count != fixed:
                raise InputError(
                    f"{self.source}: the last {count} of the samples do not fill the model's batch of {fixed}; "
                    f"give a multiple of {fixed} samples, or load the model with a dynamic batch and compile it for 1"
                )
            seen += count
            yield batch, labels
        if not seen:
            raise InputError(self._empty_message())

    def _selected(self) -> Iterator[Labelled]:
        position = 0
        for batch, labels in batches_of(self.items(), self.specs, self.source):
            count = sample_count(batch, self.specs)
            held = (np.arange(position, position + count) % HELD_OUT_EVERY) == HELD_OUT_AT
            position += count
            if self.part is None:
                yield batch, labels
                continue
            keep = np.flatnonzero(held if self.part == "held out" else ~held)
            if keep.size:
                yield take_labelled(batch, labels, self.specs, keep)

    def _empty_message(self) -> str:
        if self.part == "held out":
            return f"{self.source} is too small to hold out a fifth; give evaluation data apart"
        return f"{self.source} is empty; give at least one sample"

    def labels(self) -> Array | None:
        """All labels in order, None when the data has none. Takes a pass over the data."""
        found = [labels for _, labels in self.labelled()]
        present = [labels for labels in found if labels is not None]
        return np.concatenate(present) if present and len(present) == len(found) else None

    def split(self) -> tuple[Dataset, Dataset]:
        """(four fifths for calibration, one fifth held out for evaluation): disjoint, the same every time."""
        if self.part is not None:
            raise InputError(f"{self.source} was split already; split the whole data once")
        return replace(self, part="rest"), replace(self, part="held out")

    def content_hash(self) -> str:
        """SHA-256 over names, dtypes, shapes, values and labels of all samples; independent of batching."""
        whole = hashlib.sha256(repr([(s.name, s.dtype.str) for s in self.specs]).encode())
        for batch, labels in self.labelled():
            for index in range(sample_count(batch, self.specs)):
                whole.update(sample_hash(*take_labelled(batch, labels, self.specs, slice(index, index + 1))).digest())
        return whole.hexdigest()


def sample_hash(batch: Batch, labels: Array | None = None) -> hashlib._Hash:
    """SHA-256 object of one batch (or sample): shapes and values of its inputs by name, and its labels."""
    digest = hashlib.sha256()
    for name, array in [*sorted(batch.items()), ("", labels)]:
        if array is not None:
            digest.update(f"{name}:{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest
