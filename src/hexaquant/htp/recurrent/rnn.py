"""RNN (Elman) of static length becomes basic operators: h' = tanh(P_t + h R^T). Conditions: unroll_steps."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.htp.recurrent.steps import (
    Cell,
    Layer,
    States,
    cut_steps,
    direction_name,
    project_inputs,
    unroll,
    weight_of,
)
from hexaquant.ir.emitter import Emitter
from hexaquant.ir.graph import Graph

INITIAL_H = 5


def unroll_rnn(graph: Graph) -> int:
    """Returns the number of RNN operators replaced. Raises InputError or TargetError for one that cannot be."""
    return unroll(graph, "RNN", ("Tanh",), _cell, (INITIAL_H,))


def _cell(emit: Emitter, layer: Layer, direction: int) -> Cell:
    shape = (layer.batch, layer.hidden)
    name = direction_name(layer, direction)
    bias: np.ndarray = np.add(*np.split(layer.b[direction], 2))
    inputs = cut_steps(emit, layer, project_inputs(emit, layer, direction, bias))
    weight = weight_of(emit, layer, direction, "weight_hh", layer.r[direction])

    def step(t: int, states: States) -> tuple[oir.Value, ...]:
        (h,), here, total = states, f"{name}_t{t}", inputs[t]
        if h is not None:
            recurrent = emit.linear(h, weight, None, f"{here}_recurrent")
            total = emit.op("Add", [total, recurrent], f"{here}_sum", shape)
        return (emit.op("Tanh", [total], f"{here}_hidden", shape),)

    return step
