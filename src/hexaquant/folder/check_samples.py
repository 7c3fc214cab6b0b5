"""The first samples of the calibration data, which the folder keeps so that every compile can check itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from hexaquant.core.archive import ARCHIVE_ERRORS
from hexaquant.core.atomic import atomic_path
from hexaquant.io.dataset import Dataset

CHECK_SAMPLES = ".state/samples.npz"
COUNT = 2
MOST_BYTES = 64 << 20
"""Of all samples together; larger ones are not kept, noise takes their place."""

Batch = Mapping[str, np.ndarray]


def first_of(data: Dataset) -> tuple[Batch, ...]:
    """The first COUNT samples of ``data``, each a batch of one."""
    return tuple(islice(data.batches(1), COUNT))


def write_samples(path: Path, samples: Iterable[Batch]) -> bool:
    """Whether they were small enough to be written."""
    arrays = {f"{index} {name}": array for index, sample in enumerate(samples) for name, array in sample.items()}
    if not arrays or sum(array.nbytes for array in arrays.values()) > MOST_BYTES:
        return False
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return True


def read_samples(folder: Path) -> tuple[Batch, ...]:
    """What ``folder`` holds; empty where there is nothing that can be read."""
    samples: dict[int, dict[str, np.ndarray]] = {}
    try:
        with np.load(folder / CHECK_SAMPLES, allow_pickle=False) as file:
            for key in file.files:
                index, name = key.split(" ", 1)
                samples.setdefault(int(index), {})[name] = file[key]
    except (*ARCHIVE_ERRORS, OSError, ValueError):
        return ()
    return tuple(samples[index] for index in sorted(samples))
