"""Qualcomm's ``input_list.txt``: one inference a line, raw files named ``name:=path`` or bare in graph order.

Raw files are row-major, little-endian, without a header, float32 unless ``native``; a file may hold several samples
one after the other. Paths are relative to the current folder or, failing that, to the list's. Lines that start with
``#`` or ``%`` (they select outputs in other tools) and empty lines are skipped. ``.npy`` files are taken as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from hexaquant.core.errors import InputError
from hexaquant.io.batches import Array, wrong_names
from hexaquant.io.dataset import Dataset
from hexaquant.io.input_spec import InputSpec


def input_list(path: Path, specs: tuple[InputSpec, ...], native: bool | Collection[str] = False) -> Dataset:
    """A Dataset of the list's lines. ``native``: raw files (of all inputs, or of these) hold the input's own dtype.

    Raises InputError naming the line when a name or a file does not exist or a size does not fit, the latter when
    the line is read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}); give a text file with one inference a line") from None
    rows = [
        _files_of(line, specs, path, number)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith(("#", "%"))
    ]

    stored = {spec.name: native if isinstance(native, bool) else spec.name in native for spec in specs}

    def items() -> Iterator[dict[str, Array]]:
        for row in rows:
            yield {spec.name: _read(row[spec.name], spec, stored[spec.name]) for spec in specs}

    return Dataset(specs, items, path.name)


def _files_of(line: str, specs: tuple[InputSpec, ...], source: Path, number: int) -> dict[str, Path]:
    """Input name -> existing file of one line."""
    words, names, where = line.split(), [s.name for s in specs], f"{source.name} line {number}"
    named = [word.partition(":=") for word in words if ":=" in word]
    if named and len(named) == len(words):
        pairs = {name: file for name, _, file in named}
        unknown, missing = [n for n in pairs if n not in names], [n for n in names if n not in pairs]
        if unknown or missing:
            raise InputError(wrong_names(missing, unknown, names, where))
    elif len(words) == len(specs):
        pairs = dict(zip(names, (word.rpartition(":=")[2] for word in words)))
    else:
        raise InputError(f"{where} has {len(words)} files but the model has {len(specs)} inputs ({', '.join(names)})")
    return {name: _existing(file, source, where) for name, file in pairs.items()}


def _existing(file: str, source: Path, where: str) -> Path:
    for candidate in (Path(file), source.parent / file):
        try:
            if candidate.is_file():
                return candidate
        except (OSError, ValueError):  # a name that no file can have
            continue
    raise InputError(f"{where}: there is no file {file}, neither here nor beside the list; correct the path")


def _read(path: Path, spec: InputSpec, native: bool) -> Array:
    """The samples in one file, in the input's dtype, with a batch dimension."""
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    dtype = spec.dtype if native else np.dtype(np.float32)
    shape = spec.static_sample_shape()
    need = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    size = path.stat().st_size
    if need == 0 or size == 0 or size % need:
        raise InputError(
            f"{path} has {size} bytes, not a multiple of the {need} that a sample of input '{spec.name}' "
            f"({'x'.join(map(str, shape))} {dtype}) takes; write it as raw little-endian {dtype}"
        )
    data = np.fromfile(path, dtype.newbyteorder("<")).reshape((-1, *shape) if spec.batched else shape)
    return data if spec.dtype.kind == "f" or native else data.astype(spec.dtype)
