"""Calibration and evaluation data from whatever the user has.

=========================  =======================================================================
given                      meaning
=========================  =======================================================================
iterable, DataLoader       arrays, tuples (inputs, then perhaps labels) or dicts by input name
tf.data, PyDataset         batches as Keras takes them: inputs, or (inputs, labels)
``file.npz``               arrays by input name; optional "labels" or "y"; samples along the input's batch axis or an
                           extra leading one (io.batches.cut)
``file.npy``               the only input, as in an .npz
``input_list.txt``         raw files, Qualcomm's format (io.input_list)
folder                     images with a preprocessing spec (io.image_folder)
``module:name``            a function that returns any of the iterables, or such an iterable; also ``file.py:name``
=========================  =======================================================================
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np

from hexaquant.core.archive import ARCHIVE_ERRORS
from hexaquant.core.errors import HexaquantError, InputError
from hexaquant.core.user_code import find_object
from hexaquant.io.batches import LABEL_KEYS, Array, cut, first_states, is_whole, rows_of_a_run
from hexaquant.io.dataset import Dataset
from hexaquant.io.image_folder import ImageSpec, image_folder
from hexaquant.io.input_lines import wrong_names
from hexaquant.io.input_list import input_list
from hexaquant.io.recurrent_state import rolled
from hexaquant.ir.graph import Graph
from hexaquant.ir.input_spec import InputSpec, input_specs

MOST_UNPACKED = 1 << 30
MOST_GROWTH = 20
"""An .npz may unpack to so many bytes in any case, and to so many times its own."""
CHUNK = 32
"""Samples that array files are cut into when the graph's batch is symbolic and no batch size is asked for."""


def open_data(data: Any, graph: Graph, images: ImageSpec | None = None) -> Dataset:
    """A Dataset of ``data`` (see the table above) for the inputs of ``graph``.

    ``images`` is the preprocessing of an image folder. States of a recurrent network that the graph knows of
    (io.recurrent_state) are computed from sample to sample. Raises InputError when the file is missing, truncated or of
    an unknown kind; items are checked when they are read.
    """
    return data if isinstance(data, Dataset) else rolled(_opened(data, input_specs(graph), images), graph)


def _opened(data: Any, specs: tuple[InputSpec, ...], images: ImageSpec | None) -> Dataset:
    if isinstance(data, str | os.PathLike):
        return _open_path(str(data), specs, images)
    if isinstance(data, np.ndarray) or hasattr(data, "detach"):
        return _named_arrays({_only(specs, "the array").name: np.asarray(data)}, specs, "the array")
    if isinstance(data, Mapping):
        arrays = {name: np.asarray(value) for name, value in data.items()}
        return _named_arrays(arrays, specs, "the data")
    if not is_readable(data):
        raise InputError(f"data of type {type(data).__name__} cannot be iterated; give arrays, a DataLoader or a path")
    return from_iterable(data, specs, "the data")


def is_readable(data: Any) -> bool:
    """True for iterables and for sequences without an iterator (keras.utils.PyDataset)."""
    return isinstance(data, Iterable) or (hasattr(data, "__getitem__") and hasattr(data, "__len__"))


def from_iterable(data: Any, specs: Sequence[InputSpec], source: str) -> Dataset:
    """A Dataset over ``data``. A one-pass iterator (a generator) is kept in memory, so that it can be read again."""
    if not isinstance(data, Iterable):
        return Dataset(tuple(specs), lambda: (data[index] for index in range(len(data))), source)
    items = list(data) if isinstance(data, Iterator) else data
    return Dataset(tuple(specs), lambda: items, source, _loader_length(items))


def _loader_length(loader: Any) -> int | None:
    """Samples in a pass of a torch DataLoader that visits every sample once; None for anything else."""
    sampler = getattr(loader, "sampler", None)
    dataset = getattr(loader, "dataset", None)
    if not isinstance(sampler, Sized) or not isinstance(dataset, Sized) or getattr(loader, "drop_last", False):
        return None
    return len(dataset) if len(sampler) == len(dataset) else None


def _open_path(text: str, specs: tuple[InputSpec, ...], images: ImageSpec | None) -> Dataset:
    path = Path(text)
    if path.is_dir():
        return image_folder(path, specs, images or ImageSpec())
    if not path.exists() and ":" in text and not text.lower().endswith((".npz", ".npy", ".txt")):
        return _from_function(text, specs)
    if not path.is_file():
        raise InputError(f"there is no data file or folder {text}; check the path")
    readers = {".npz": _npz, ".npy": _npy, ".txt": input_list}
    if path.suffix.lower() not in readers:
        raise InputError(f"{text} is no .npz, .npy, input_list .txt, image folder or module:function; convert it")
    return readers[path.suffix.lower()](path, specs)


def _npz(path: Path, specs: tuple[InputSpec, ...]) -> Dataset:
    try:
        _require_moderate(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (*ARCHIVE_ERRORS, MemoryError) as error:
        raise InputError(f"{path} is not a readable .npz file ({error}); write it again with numpy.savez") from None
    return _named_arrays(arrays, specs, path.name)


def _require_moderate(path: Path) -> None:
    """Raise InputError for an archive that unpacks to unreasonably much, by its own list of members."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(MOST_UNPACKED, MOST_GROWTH * path.stat().st_size):
        raise InputError(
            f"{path} unpacks from {path.stat().st_size:,} to {unpacked:,} bytes, too many to be meant; write it again "
            "with numpy.savez, or give .npy files"
        )


def _npy(path: Path, specs: tuple[InputSpec, ...]) -> Dataset:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, OverflowError) as error:
        raise InputError(f"{path} is not a readable .npy file ({error}); write it again with numpy.save") from None
    return _named_arrays({_only(specs, path.name).name: array}, specs, path.name)


def _only(specs: Sequence[InputSpec], source: str) -> InputSpec:
    needed = [spec for spec in specs if spec.state_of is None]
    if len(needed) != 1:
        names = ", ".join(s.name for s in specs)
        raise InputError(f"{source} holds one array but the model has {len(specs)} inputs ({names}); use an .npz file")
    return needed[0]


def _named_arrays(arrays: dict[str, Array], specs: tuple[InputSpec, ...], source: str) -> Dataset:
    """A Dataset of whole arrays by input name; numpy's ``arr_0`` names go by position."""
    if all(f"arr_{i}" in arrays for i in range(len(specs))) and not any(s.name in arrays for s in specs):
        renamed = {s.name: arrays[f"arr_{i}"] for i, s in enumerate(specs)}
        arrays = renamed | {k: v for k, v in arrays.items() if k in LABEL_KEYS}
    names = [s.name for s in specs]
    arrays = first_states(specs, arrays) | arrays
    labels = next((arrays[k] for k in LABEL_KEYS if k in arrays and k not in names), None)
    unknown = [k for k in arrays if k not in names and k not in LABEL_KEYS]
    missing = [n for n in names if n not in arrays]
    if missing:
        raise InputError(wrong_names(missing, unknown, names, source))
    return _arrays({n: arrays[n] for n in names}, labels, specs, source)


def _arrays(arrays: dict[str, Array], labels: Array | None, specs: tuple[InputSpec, ...], source: str) -> Dataset:
    """A Dataset of whole arrays, each with the samples of an input (io.batches.cut)."""
    if rows_of_a_run(specs) and not is_whole(arrays, specs):
        item = arrays if labels is None else (arrays, labels)
        return Dataset(specs, lambda: [item], source)
    found = cut(arrays, labels, specs, source)

    def items() -> Iterator[Any]:
        for batch, part in found.pieces(CHUNK):
            yield batch if part is None else (batch, part)

    return Dataset(specs, items, source, found.count)


def _from_function(text: str, specs: tuple[InputSpec, ...]) -> Dataset:
    """Data from ``module:name`` or ``file.py:name``, which executes the user's code."""
    found = find_object(text, "the data")
    try:
        made = found() if callable(found) else found
    except HexaquantError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the data '{text}' raised {type(error).__name__} ({reason}); repair the function") from error
    if not is_readable(made):
        raise InputError(f"'{text}' gave a {type(made).__name__}, not an iterable; return a DataLoader or a list")
    return from_iterable(made, specs, text)
