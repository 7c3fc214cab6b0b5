"""The first samples of calibration data in chunks that the network can run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.ir.input_spec import first_samples, input_specs, joined, samples_of_a_run
from hexaquant.sim.model import QuantizedModel

CHUNK = 8
"""Samples that run at once."""


def runnable_chunks(
    model: QuantizedModel, batches: Iterable[Mapping[str, Any]], samples: int
) -> list[dict[str, Tensor]]:
    """The first ``samples`` samples in chunks that ``model`` can run: one sample each where it runs no batches.

    Raises InputError when there is none.
    """
    specs = input_specs(model.source_graph)
    chunks = list(first_samples(batches, specs, samples, CHUNK))
    if not chunks:
        raise InputError("the calibration data is empty: give at least one sample")
    return chunks if takes_batches(model, chunks) else list(first_samples(chunks, specs, samples, 1))


def takes_batches(model: QuantizedModel, chunks: Iterable[Mapping[str, Any]]) -> bool:
    """False for a network that holds on to the one sample it was exported with: it cannot run two, or mixes them."""
    specs = input_specs(model.source_graph)
    if samples_of_a_run(specs) is None:
        return True
    if not all(spec.batched for spec in specs):
        return False
    one = next(iter(first_samples(chunks, specs, 1)))
    other = {name: t.flip(-1) if t.is_floating_point() else t for name, t in one.items()}
    try:
        with model.float_mode(), torch.no_grad():
            pair = _outputs(model(**joined([one, other], specs)))
            first, second = _outputs(model(**one)), _outputs(model(**other))
    except (RuntimeError, ValueError, IndexError):
        return False
    return all(_is_pair(both, a, b) for both, a, b in zip(pair, first, second, strict=True))


def _outputs(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _is_pair(both: Tensor, first: Tensor, second: Tensor) -> bool:
    if not both.dim() or both.shape[1:] != first.shape[1:] or len(both) != len(first) + len(second):
        return False
    return torch.allclose(both, torch.cat([first, second]), rtol=1e-3, atol=1e-4 * max(1.0, float(both.abs().max())))
