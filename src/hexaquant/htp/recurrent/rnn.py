"""RNN (Elman) of static length becomes basic operators: h' = tanh(P_t + h R^T). Conditions: layer.py."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.htp.recurrent.layer import Layer
from hexaquant.htp.recurrent.steps import (
    Cell,
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


def unroll_rnn(graph: Graph, in_float: bool = False) -> int:
    """Returns the number of RNN operators replaced. Raises InputError or TargetError for one that cannot be."""
    return unroll(graph, "RNN", _cell, (INITIAL_H,), in_float)


def _cell(emit: Emitter, layer: Layer, direction: int) -> Cell:
    shape = (layer.batch, layer.hidden)
    name = direction_name(layer, direction)
    bias: np.ndarray = np.add(*np.split(layer.b[direction], 2))
    inputs = cut_steps(emit, layer, project_inputs(emit, layer, direction, bias))
    (function,) = layer.functions[direction]
    r = -layer.r[direction] if layer.in_float else layer.r[direction]  # see steps.py
    weight = weight_of(emit, layer, direction, "weight_hh", r)

    def step(t: int, states: States) -> tuple[oir.Value, ...]:
        (h,), here, total = states, f"{name}_t{t}", inputs[t]
        if h is not None:
            recurrent = emit.linear(h, weight, None, f"{here}_recurrent")
            total = emit.op("Sub" if layer.in_float else "Add", [total, recurrent], f"{here}_sum", shape)
        return (emit.op(function, [total], f"{here}_hidden", shape),)

    return step
