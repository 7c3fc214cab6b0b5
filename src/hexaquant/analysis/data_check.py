"""What data look like, said before they are used, and what is wrong with them.

Nobody notices a wrong scale by an exit code: a network calibrated on 0..1 and measured on 0..255 gives figures, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hexaquant.core.encoding import Encoding
from hexaquant.io.dataset import Dataset
from hexaquant.ir.input_spec import sample_count, take

LOOKED_AT = 64
"""Samples, at most, that are looked at."""
FEW = 16
"""Samples below which ranges and corrections rest on too little."""
BEYOND = 2.0
WITHIN = 16.0
"""Data up to so many times the calibrated range, or down to one part in so many of it, draw no warning."""
SEVERAL = 2


@dataclass(frozen=True)
class Look:
    """One input over ``samples`` samples (``more``: there are more): range, mean, and whether all samples are equal."""

    name: str
    kind: str
    shape: tuple[int, ...]
    samples: int
    more: bool
    low: float
    high: float
    mean: float
    all_equal: bool

    @property
    def pixels(self) -> bool:
        """True for what looks like pixels of 0..255."""
        return self.kind == "f" and len(self.shape) >= SEVERAL and self.low >= 0 and 100 < self.high <= 255

    @property
    def constant(self) -> bool:
        """True where every value of every sample is the same."""
        return self.low == self.high

    def words(self) -> str:
        """ "input 'x': 20 samples of 3x32x32, 0 to 255, mean 114; looks like pixels 0..255"."""
        size = "x".join(map(str, self.shape)) or "one value"
        count = f"the first {self.samples}" if self.more else str(self.samples)
        text = (
            f"input '{self.name}': {count} samples of {size}, {self.low:.4g} to {self.high:.4g}, mean {self.mean:.4g}"
        )
        return f"{text}; looks like pixels 0..255" if self.pixels else text


def look_at(data: Dataset) -> list[Look]:
    """The inputs of the first LOOKED_AT samples of ``data``."""
    seen: dict[str, list[tuple[float, float, float]]] = {spec.name: [] for spec in data.specs}
    first: dict[str, np.ndarray] = {}
    equal = dict.fromkeys(seen, True)
    count = 0
    more = False
    for batch in data.batches(1):
        if count >= LOOKED_AT:
            more = True
            break
        count += sample_count(batch, data.specs)
        for name, array in take(batch, data.specs, slice(0, 1)).items():
            first.setdefault(name, array)
            equal[name] = equal[name] and np.array_equal(first[name], array)
            numbers = array if array.dtype.kind == "f" else array.astype(np.float64)  # no infinity in integers
            seen[name].append(
                (float(numbers.min(initial=np.inf)), float(numbers.max(initial=-np.inf)), float(numbers.mean()))
            )
    looks = []
    for spec in data.specs:
        low, high, mean = np.array(seen[spec.name]).T
        shape = tuple(n for axis, n in enumerate(first[spec.name].shape) if axis != spec.axis)
        figures = float(low.min()), float(high.max()), float(mean.mean())
        looks.append(Look(spec.name, spec.dtype.kind, shape, count, more, *figures, equal[spec.name] and count > 1))
    return looks


def doubts(looks: list[Look], use: str) -> Iterator[str]:
    """What is wrong with data for ``use`` ("calibrate", "verify"): one sentence each."""
    floats = [look for look in looks if look.kind == "f"]
    if use == "calibrate" and looks and looks[0].samples < FEW:
        yield f"only {looks[0].samples} samples calibrate: give {FEW} or more, as the network will see them in use"
    for look in floats:
        if look.constant and look.shape:
            yield f"every value of input '{look.name}' is {look.low:.4g}: this is no data to {use} with; check the file"
    varying = [look for look in floats if look.shape]
    if varying and all(look.all_equal for look in varying) and not all(look.constant for look in varying):
        yield f"all samples are equal: data to {use} with must differ as they will in use; check how they are made"


def out_of_range(looks: list[Look], encodings: Mapping[str, Encoding]) -> Iterator[str]:
    """Which inputs of evaluation data are not what the network was calibrated on: one sentence each."""
    for look in looks:
        encoding = encodings.get(look.name)
        if encoding is None or encoding.grid.is_float or look.kind != "f":
            continue
        low = float(encoding.min.min())
        high = float(encoding.max.max())
        size = max(-low, high)
        given = max(-look.low, look.high)
        if given > BEYOND * size or 0 < given < size / WITHIN:
            yield (
                f"input '{look.name}' is {look.low:.4g} to {look.high:.4g} here, but was calibrated for {low:.4g} to "
                f"{high:.4g}: give both the same preprocessing"
            )
