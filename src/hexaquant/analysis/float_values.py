"""The FP32 values of a quantized network's constants.

A folder keeps its weights as they are on the grid, corrected and rounded. Their FP32 values are in the networks it was
made from: as it was rewritten for the target and equalized, or as the user gave it. Whether these are this network's
constants is decided by its outputs, with all of them and with every second layer's: equalization scales neighbours
against each other, so that constants of before and after it do not mix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hexaquant.analysis.sensitivity import find_sites
from hexaquant.core.metrics import Sqnr
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph, constant
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.walk import Walk

SLACK_DB = 6.0
"""How much farther from FP32 than the quantized constants a mixture of both may be."""


@torch.no_grad()
def find_float_values(
    model: QuantizedModel, candidates: Sequence[Graph], reference: Graph, sample: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Constant -> its FP32 value, of the shape in ``model``, from the first of ``candidates`` that fits; else empty.

    It fits when on ``sample`` (a batch by input name) its constants bring the outputs nearer to ``reference``'s.
    """
    wanted = _run_reference(reference, sample)

    def distance(values: Mapping[str, Tensor]) -> float:
        found = _sqnr(wanted, Walk(model.network, values, on=False).finish(sample))
        return -math.inf if math.isnan(found) else found  # the logarithm of a constant that is 0 on the grid

    own = distance({})
    layers = [site.tensors for site in find_sites(model) if site.kind == "weight"]
    others = {name for tensors in layers[1::2] for name in tensors}
    for graph in candidates:
        values = _same_constants(model, graph)
        half = {name: value for name, value in values.items() if name not in others}
        if distance(values) >= own and distance(half) >= own - SLACK_DB:
            return values
    return {}


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
    out = build_module(reference, share=True).eval()(*[sample[value.name or ""] for value in reference.inputs])
    return tuple(out) if isinstance(out, tuple | list) else (out,)


def _sqnr(wanted: tuple[Tensor, ...], got: tuple[Tensor, ...]) -> float:
    """SQNR in dB over all outputs."""
    meter = Sqnr()
    for a, b in zip(wanted, got, strict=True):
        meter.add(a.double().numpy(), b.double().numpy())
    return meter.db
