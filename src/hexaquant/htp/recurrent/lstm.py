"""LSTM of static length becomes basic operators (conditions: layer.py).

    i, o, f = sigmoid(P_t + h R^T),  g = tanh(P_t + h R^T)      ONNX's order of the gates: i, o, f, c
    c' = f * c + i * g
    h' = o * tanh(c')

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 1997. Each gate has its
own operator: the GRU, whose gates shared a sigmoid, was computed wrongly in float16.
"""

from __future__ import annotations

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
INITIAL_C = 6


def unroll_lstm(graph: Graph, in_float: bool = False) -> int:
    """Returns the number of LSTM operators replaced. Raises InputError or TargetError for one that cannot be."""
    return unroll(graph, "LSTM", _cell, (INITIAL_H, INITIAL_C), in_float)


def _cell(emit: Emitter, layer: Layer, direction: int) -> Cell:
    hidden = layer.hidden
    batch = layer.batch
    gate, candidate, output = layer.functions[direction]
    is_turned = layer.in_float and candidate == "Tanh"  # g has the other sign: see steps.py
    if is_turned:
        layer = layer.negated(slice(3 * hidden, None))
    gates = 4 * layer.hidden
    name = direction_name(layer, direction)
    bias = layer.b[direction, :gates] + layer.b[direction, gates:]
    inputs = cut_steps(emit, layer, project_inputs(emit, layer, direction, bias))
    weight = weight_of(emit, layer, direction, "weight_hh", layer.r[direction])

    def step(t: int, states: States) -> tuple[oir.Value, ...]:
        (h, c), here, shape = states, f"{name}_t{t}", (batch, hidden)
        total = inputs[t]
        if h is not None:
            recurrent = emit.linear(h, weight, None, f"{here}_recurrent")
            total = emit.op("Add", [total, recurrent], f"{here}_gates", (batch, gates))
        parts = emit.split(total, [hidden] * 4, [f"{here}_{letter}_in" for letter in "iofg"], batch)
        kinds = [gate, gate, gate, candidate]
        named = zip(kinds, parts, "iofg", strict=True)
        i, o, f, g = [emit.op(kind, [part], f"{here}_{letter}", shape) for kind, part, letter in named]
        new = emit.op("Mul", [i, g], f"{here}_new", shape)
        if c is not None:
            kept = emit.op("Mul", [f, c], f"{here}_kept", shape)
            new = emit.op("Sub" if is_turned else "Add", [kept, new], f"{here}_cell", shape)
        elif is_turned:
            new = emit.op("Neg", [new], f"{here}_cell", shape)
        shown = emit.op(output, [new], f"{here}_cell_{output.lower()}", shape)
        return emit.op("Mul", [o, shown], f"{here}_hidden", shape), new

    return step
