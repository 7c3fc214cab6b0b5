"""The FP32 values of a quantized network's constants.

A folder keeps its weights as they are on the grid, corrected and rounded. Their FP32 values are in the networks it was
made from: as it was rewritten for the target and equalized, and as the user gave it. Which of these constants are this
network's is decided by its outputs: with the right ones they are nearest to the user's network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hexaquant.analysis.walk import Walk
from hexaquant.core.metrics import Sqnr
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph, constant
from hexaquant.sim.model import QuantizedModel


@torch.no_grad()
def find_float_values(
    model: QuantizedModel, candidates: Sequence[Graph], reference: Graph, sample: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Constant -> its FP32 value, of the shape in ``model``, from that of ``candidates`` whose constants bring the
    outputs on ``sample`` (a batch by input name) nearest to ``reference``'s; empty where the model's own are nearest.
    """
    wanted = _run_reference(reference, sample)
    choices = [{}, *(_same_constants(model, graph) for graph in candidates)]
    distances = [_distance(wanted, Walk(model.network, values, on=False).finish(sample)) for values in choices]
    best = max(distances)
    return next(choice for choice, distance in zip(reversed(choices), reversed(distances)) if distance == best)


def _same_constants(model: QuantizedModel, graph: Graph) -> dict[str, Tensor]:
    """The constants of ``graph`` that ``model`` has under the same name with the same shape."""
    found: dict[str, Tensor] = {}
    held = graph.initializers
    for name, parameter in model.parameters_by_name().items():
        data = constant(held.get(name))
        if data is not None and data.shape == tuple(parameter.shape):
            found[name] = torch.tensor(data, dtype=parameter.dtype)
    return found


def _run_reference(reference: Graph, sample: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    out = build_module(reference).eval()(*[sample[value.name or ""] for value in reference.inputs])
    return tuple(out) if isinstance(out, tuple | list) else (out,)


def _distance(wanted: tuple[Tensor, ...], got: tuple[Tensor, ...]) -> float:
    """SQNR in dB over all outputs."""
    meter = Sqnr()
    for a, b in zip(wanted, got, strict=True):
        meter.add(a.double().numpy(), b.double().numpy())
    return meter.db
