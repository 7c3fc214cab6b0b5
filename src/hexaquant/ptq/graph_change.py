"""What a rewrite of the float graph did: to the function (it must stay the same) and to the weights of each layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hexaquant.core.encoding import encoding_of
from hexaquant.core.errors import HexaquantError, InputError
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.grid import Grid
from hexaquant.core.metrics import sqnr_db
from hexaquant.htp import kernels
from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph, constant

Batches = Callable[[], Iterable[Mapping[str, Any]]]


class Probe(nn.Module):
    """A tap that shows each value of a tensor to ``see`` and passes it on."""

    def __init__(self, see: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.see = see

    def forward(self, x: Tensor) -> Tensor:
        self.see(x)
        return x


@torch.no_grad()
def watch(
    graph: Graph, batches: Iterable[Mapping[str, Any]], probes: Mapping[str, Callable[[Tensor], None]]
) -> list[list[Tensor]]:
    """Run ``batches`` through the float ``graph``, showing tensors by name to ``probes``; the outputs of each batch.

    Raises InputError when there is no batch.
    """
    module = build_module(graph, {name: Probe(see) for name, see in probes.items()}, share=True)
    arguments = {name: argument for argument, name in module.meta["input_names"].items()}
    results = []
    for batch in batches:
        result = module(**{arguments[name]: torch.as_tensor(value) for name, value in batch.items()})
        results.append([result] if isinstance(result, Tensor) else list(result))
    if not results:
        raise InputError("the calibration data is empty: give at least one sample")
    return results


def require_same_function(before: Graph, after: Graph, batches: Batches, tolerance: float, step: str) -> float:
    """Largest |y - y'| / max |y| over the outputs, on the first batch, of two graphs.

    Raises HexaquantError when it exceeds ``tolerance``: ``step`` broke the network, which is our fault.
    """
    batch = list(islice(batches(), 1))
    worst = 0.0
    for old, new in zip(watch(before, batch, {})[0], watch(after, batch, {})[0], strict=True):
        if old.is_floating_point():
            worst = max(worst, float((old - new).abs().max() / old.abs().max().clamp(min=1e-12)))
    if not worst <= tolerance:
        raise HexaquantError(
            f"'{step}' changed the outputs of {before.source} by {worst:.1e} of their size, more than {tolerance:.0e}: "
            "please report this network, and leave the step out of the recipe"
        )
    return worst


def channel_maxima(
    graph: Graph, batches: Iterable[Mapping[str, Any]], names: Iterable[str], *, negated: bool = False
) -> dict[str, npt.NDArray[np.float64]]:
    """Largest value, or with ``negated`` largest -value, of each channel (axis 1) of the tensors ``names``."""
    maxima: dict[str, Tensor] = {}

    def see(name: str) -> Callable[[Tensor], None]:
        def take(x: Tensor) -> None:
            new = (-x if negated else x).movedim(1, 0).flatten(1).amax(1)
            maxima[name] = torch.maximum(maxima[name], new) if name in maxima else new

        return take

    watch(graph, batches, {name: see(name) for name in names})
    return {name: value.double().numpy() for name, value in maxima.items()}


def changed_layers(before: Graph, after: Graph) -> list[dict[str, Any]]:
    """Each layer with another weight than before: ratio of its largest to its smallest output channel, and the SQNR
    in dB of its weight on one 8-bit scale, before and after."""
    old = before.initializers
    rows = []
    for node in after.nodes:
        index = kernels.WEIGHT_INPUTS.get(node.op_type)
        value = node.inputs[index] if index is not None else None
        new = constant(value)
        was = constant(old.get(value.name or "")) if value is not None else None
        if new is None or was is None or new.shape != was.shape or np.array_equal(new, was):
            continue
        axis = _output_axis(node, new.ndim)
        row: dict[str, Any] = {"layer": str(after.origin(node))}
        for when, weight in (("before", was), ("after", new)):
            row[f"range_ratio_{when}"] = _ratio(weight, axis)
            row[f"weight_sqnr_{when}"] = round(_weight_sqnr(weight), 2)
        rows.append(row)
    return rows


def _output_axis(node: Any, rank: int) -> int:
    attributes = {"transB": int(node.attributes.get_int("transB", 0) or 0)}
    return kernels.channel_axis(node.op_type, attributes, rank) or 0


def _ratio(weight: npt.NDArray[Any], axis: int) -> float:
    largest = np.abs(np.moveaxis(weight, axis, 0)).reshape(weight.shape[axis], -1).max(1)
    alive = largest[largest > 0]
    return round(float(alive.max() / alive.min()), 3) if alive.size else 1.0


def _weight_sqnr(weight: npt.NDArray[Any]) -> float:
    w = torch.from_numpy(np.array(weight, np.float32))
    return sqnr_db(weight, fake_quantize(w, encoding_of(w, Grid(8, True, True))).numpy())
