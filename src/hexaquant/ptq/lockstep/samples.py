"""The first samples of calibration data, in chunks or as one batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.sim.model import QuantizedModel

CHUNK = 8
"""Samples that run at once."""


def split_batches(batches: Iterable[Mapping[str, Any]], samples: int) -> Iterator[dict[str, Tensor]]:
    """The first ``samples`` samples in chunks of at most CHUNK."""
    left = samples
    for batch in batches:
        tensors = {name: torch.as_tensor(value) for name, value in batch.items()}
        size = min(len(next(iter(tensors.values()))), left)
        for start in range(0, size, CHUNK):
            yield {name: t[start : min(start + CHUNK, size)].clone() for name, t in tensors.items()}
        left -= size
        if not left:
            return


def runnable_chunks(
    model: QuantizedModel, batches: Iterable[Mapping[str, Any]], samples: int
) -> list[dict[str, Tensor]]:
    """The first ``samples`` samples in chunks that ``model`` can run: a single sample where it runs no batches.

    Raises InputError when there is none.
    """
    chunks = list(split_batches(batches, samples))
    one = gather(chunks, 1)
    return chunks if takes_batches(model, chunks) else [one]


def takes_batches(model: QuantizedModel, batches: Iterable[Mapping[str, Any]]) -> bool:
    """False for a network whose operators hold on to the one example it was exported with: it cannot run two."""
    shapes = [value.shape for value in model.source_graph.inputs]
    if not all(shape and isinstance(shape[0], int) for shape in shapes):
        return True
    pair = {name: torch.cat([t[:1], t[:1]]) for name, t in gather(batches, 1).items()}
    names = [value.name or "" for value in model.source_graph.inputs]
    try:
        with model.float_mode(), torch.no_grad():
            outputs = model(*[pair[name] for name in names])
    except (RuntimeError, ValueError, IndexError):
        return False
    first = outputs if isinstance(outputs, Tensor) else outputs[0]
    return first.dim() > 0 and len(first) == 2


def gather(batches: Iterable[Mapping[str, Any]], samples: int) -> dict[str, Tensor]:
    """The first ``samples`` samples as one batch. Raises InputError when there is none."""
    chunks = list(split_batches(batches, samples))
    if not chunks:
        raise InputError("the calibration data is empty: give at least one sample")
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
