"""Qualcomm's ``input_list.txt`` (io/input_lines.py) as a Dataset; raw files are float32 unless ``native``."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from hexaquant.io.batches import Array
from hexaquant.io.dataset import Dataset
from hexaquant.io.input_lines import InputLines, read_array, read_input_lines, read_raw
from hexaquant.ir.input_spec import InputSpec


def input_list(path: Path, specs: tuple[InputSpec, ...], native: bool | Collection[str] = False) -> Dataset:
    """A Dataset of the list's lines. ``native``: raw files (of all inputs, or of these) hold the input's own dtype.

    Raises InputError naming the line when a name or a file does not exist or an input is given twice, and for a file
    whose size does not fit when the line is read.
    """
    return listed_data(read_input_lines(path, [spec.name for spec in specs]), specs, path.name, native)


def listed_data(
    listed: InputLines, specs: tuple[InputSpec, ...], source: str, native: bool | Collection[str] = False
) -> Dataset:
    """As :func:`input_list`, of a list that was read already."""
    stored = {spec.name: native if isinstance(native, bool) else spec.name in native for spec in specs}

    def items() -> Iterator[dict[str, Array]]:
        for line in listed.lines:
            yield {spec.name: _read(line.files[spec.name], spec, stored[spec.name]) for spec in specs}

    return Dataset(specs, items, source)


def _read(path: Path, spec: InputSpec, native: bool) -> Array:
    """The samples in one file, in the input's dtype, with a batch dimension."""
    if path.suffix == ".npy":
        return read_array(path)
    shape = spec.static_sample_shape()[spec.rows > 1 :]  # a file may hold a part of what a run takes
    data = read_raw(path, spec.name, shape, spec.dtype if native else np.dtype(np.float32))
    data = np.moveaxis(data, 0, spec.axis) if spec.axis else data
    return data if spec.dtype.kind == "f" or native else data.astype(spec.dtype)
