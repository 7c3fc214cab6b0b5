"""GRU of static length becomes basic operators (conditions: layer.py).

    z, r = sigmoid(P_t + h R_zr^T + b_zr)                       ONNX's order of the gates: z, r, h
    n = tanh(P_t + r * (h R_n^T + b_n))                         linear_before_reset (PyTorch, cuDNN)
    n = tanh(P_t + (r * h) R_n^T + b_n)                         otherwise
    h' = n + z * (h - n)

Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014.
"""

from __future__ import annotations

from collections.abc import Callable

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
from hexaquant.ir.edit import int_attribute
from hexaquant.ir.emitter import Emitter
from hexaquant.ir.graph import Graph

INITIAL_H = 5

Gates = Callable[[int, oir.Value | None], tuple[oir.Value, oir.Value]]
"""Update gate z and candidate n of a step, from its time and the hidden state before it."""


def unroll_gru(graph: Graph, in_float: bool = False) -> int:
    """Returns the number of GRU operators replaced. Raises InputError or TargetError for one that cannot be."""
    return unroll(graph, "GRU", _cell, (INITIAL_H,), in_float)


def _cell(emit: Emitter, layer: Layer, direction: int) -> Cell:
    shape = (layer.batch, layer.hidden)
    name = direction_name(layer, direction)
    reset_after = bool(int_attribute(layer.node, "linear_before_reset", 0))
    gates = (_reset_after if reset_after else _reset_before)(emit, layer, direction)

    def step(t: int, states: States) -> tuple[oir.Value, ...]:
        (h,), here = states, f"{name}_t{t}"
        z, n = gates(t, h)
        if h is None:
            kept = emit.op("Mul", [z, n], f"{here}_kept", shape)
            return (emit.op("Sub", [n, kept], f"{here}_hidden", shape),)
        change = emit.op("Sub", [h, n], f"{here}_change", shape)
        kept = emit.op("Mul", [z, change], f"{here}_kept", shape)
        return (emit.op("Add", [n, kept], f"{here}_hidden", shape),)

    return step


def _inputs(emit: Emitter, layer: Layer, direction: int, bias: np.ndarray) -> tuple[list[oir.Value], list[oir.Value]]:
    """The input projections of every step: for z and r (batch, 2 hidden), and for n (batch, hidden)."""
    hidden = layer.hidden
    rows = project_inputs(emit, layer, direction, bias)
    assert rows.shape is not None
    names = [f"{rows.name}_zr", f"{rows.name}_n"]
    zr, n = emit.split(rows, [2 * hidden, hidden], names, rows.shape[0])  # type: ignore[arg-type]
    return cut_steps(emit, layer, zr), cut_steps(emit, layer, n)


def _opened(emit: Emitter, layer: Layer, direction: int, here: str, total: oir.Value) -> list[oir.Value]:
    """z and r from their sum. One sigmoid each: cut from a common one, z and r were zeros in float16 (v75)."""
    parts = emit.split(total, [layer.hidden] * 2, [f"{here}_z_in", f"{here}_r_in"], layer.batch)
    shape = (layer.batch, layer.hidden)
    function = layer.functions[direction][0]
    return [emit.op(function, [part], f"{here}_{gate}", shape) for part, gate in zip(parts, "zr", strict=True)]


def _joined(layer: Layer) -> tuple[str, int]:
    """How the recurrent part of a candidate joins that of the input: the operator, and the sign of its weights."""
    return ("Sub", -1) if layer.in_float else ("Add", 1)  # see steps.py


def _reset_after(emit: Emitter, layer: Layer, direction: int) -> Gates:
    hidden = layer.hidden
    batch = layer.batch
    name = direction_name(layer, direction)
    wb, rb = np.split(layer.b[direction], 2)
    inner = np.concatenate([np.zeros(2 * hidden, rb.dtype), rb[2 * hidden :]])
    zr_in, n_in = _inputs(emit, layer, direction, wb + rb - inner)
    joined, sign = _joined(layer)
    signs = np.repeat([1, 1, sign], hidden).astype(rb.dtype)
    inner = inner * signs
    weight = weight_of(emit, layer, direction, "weight_hh", layer.r[direction] * signs[:, None])
    bias = emit.constant(f"{name}.bias_hh", inner)

    def gates(t: int, h: oir.Value | None) -> tuple[oir.Value, oir.Value]:
        here = f"{name}_t{t}"
        zr = zr_in[t]
        if h is None:
            recurrent_n = emit.constant(f"{name}.bias_hn", inner[None, 2 * hidden :])
        else:
            recurrent = emit.linear(h, weight, bias, f"{here}_recurrent")
            names = [f"{here}_recurrent_zr", f"{here}_recurrent_n"]
            recurrent_zr, recurrent_n = emit.split(recurrent, [2 * hidden, hidden], names, batch)
            zr = emit.op("Add", [zr, recurrent_zr], f"{here}_zr", (batch, 2 * hidden))
        z, r = _opened(emit, layer, direction, here, zr)
        reset = emit.op("Mul", [r, recurrent_n], f"{here}_reset", (batch, hidden))
        total = emit.op(joined, [n_in[t], reset], f"{here}_candidate", (batch, hidden))
        return z, emit.op(layer.functions[direction][1], [total], f"{here}_tanh", (batch, hidden))

    return gates


def _reset_before(emit: Emitter, layer: Layer, direction: int) -> Gates:
    hidden = layer.hidden
    batch = layer.batch
    name = direction_name(layer, direction)
    zr_in, n_in = _inputs(emit, layer, direction, sum(np.split(layer.b[direction], 2)))  # type: ignore[arg-type]
    weight_zr = weight_of(emit, layer, direction, "weight_hzr", layer.r[direction, : 2 * hidden])
    joined, sign = _joined(layer)
    weight_n = weight_of(emit, layer, direction, "weight_hn", sign * layer.r[direction, 2 * hidden :])

    def gates(t: int, h: oir.Value | None) -> tuple[oir.Value, oir.Value]:
        here = f"{name}_t{t}"
        zr = zr_in[t]
        total = n_in[t]
        if h is not None:
            recurrent = emit.linear(h, weight_zr, None, f"{here}_recurrent_zr")
            zr = emit.op("Add", [zr, recurrent], f"{here}_zr", (batch, 2 * hidden))
        z, r = _opened(emit, layer, direction, here, zr)
        if h is not None:
            reset = emit.op("Mul", [r, h], f"{here}_reset", (batch, hidden))
            recurrent = emit.linear(reset, weight_n, None, f"{here}_recurrent_n")
            total = emit.op(joined, [total, recurrent], f"{here}_candidate", (batch, hidden))
        return z, emit.op(layer.functions[direction][1], [total], f"{here}_tanh", (batch, hidden))

    return gates
