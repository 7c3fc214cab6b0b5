"""Recurrent layers over a sequence as ONNX's LSTM and RNN, and layers that keep a state from run to run.

A sequence starts from zeros: its state tensors only carry on within one sequence. SVDF, and LSTM and RNN over single
steps, are streaming layers: their state is an input and an output of the network (variables.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from hexaquant.frontends.tflite.call import Call
from hexaquant.frontends.tflite.schema import ACTIVATIONS

ONNX_GATES = (0, 3, 1, 2)
"""TensorFlow's gates are input, forget, cell, output; ONNX's input, output, forget, cell."""
RNN_NAMES = {"TANH": "Tanh", "RELU": "Relu", "SIGN_BIT": "", "NONE": "Affine"}


def sequence_lstm(call: Call) -> oir.Value:
    """Inputs: x, 4 input and 4 recurrent weights, 3 peepholes, 4 biases, projection and its bias, 2 states, 4 norms."""
    _require_plain(call, projection=16, norms=20)
    y = _lstm(call, _sequence(call), [_gates(call, 1, 5, 12, 9)])
    return _last_axis(call, y)


def bidirectional_lstm(call: Call) -> list[oir.Value]:
    """Inputs: x, then for each direction 4 + 4 weights, 3 peepholes, 4 biases, projection and its bias; 4 states."""
    _require_plain(call, projection=16, norms=48)
    if call.has(33) or call.has(39):
        raise call.refuse("has a projection or an auxiliary input, which ONNX's LSTM does not have")
    y = _lstm(call, _sequence(call), [_gates(call, 1, 5, 12, 9), _gates(call, 18, 22, 29, 26)])
    return _directions(call, y)


def sequence_rnn(call: Call) -> oir.Value:
    """Inputs: x, weights (n, in), recurrent weights (n, n), bias, state."""
    return _last_axis(call, _rnn(call, _sequence(call), [(1, 2, 3)]))


def bidirectional_rnn(call: Call) -> list[oir.Value]:
    """Inputs: x, for each direction weights, recurrent weights, bias and state."""
    if any(call.has(index) for index in range(9, 12)):
        raise call.refuse("has an auxiliary input, which ONNX's RNN does not have")
    return _directions(call, _rnn(call, _sequence(call), [(1, 2, 3), (5, 6, 7)]))


def _require_plain(call: Call, projection: int, norms: int) -> None:
    if call.has(projection) or any(call.has(i) for i in range(norms, norms + 4)):
        raise call.refuse("has a projection or layer norms, which ONNX's LSTM does not have; use a plain LSTM")
    if call.option("cell_clip") or call.option("projection_clip"):
        raise call.refuse("clips its cell, which ONNX's LSTM does not; convert the model without cell_clip")
    kind = ACTIVATIONS[call.option("activation", 4)]
    if kind not in ("TANH", "NONE"):
        raise call.refuse(f"has the activation {kind}; only TANH is supported")


def _sequence(call: Call) -> oir.Value:
    """x as ONNX wants it: time, batch, features."""
    x = call.input(0)
    return x if call.option("time_major") else call.op("Transpose", x, perm=[1, 0, 2])


def _gates(call: Call, w: int, r: int, b: int, p: int) -> list[np.ndarray | None]:
    """Weights (4n, in), recurrent weights (4n, n), bias (8n,), peepholes (3n,) of one direction in ONNX's order."""
    weights = _four(call, w)
    recurrent = _four(call, r)
    size = recurrent[1].shape[0]
    biases = [_or_zeros(call, b + gate, size) for gate in range(4)]
    if not call.has(w):  # the input gate is 1 - the forget gate: sigmoid(-z)
        weights[0], recurrent[0], biases[0] = -weights[1], -recurrent[1], -biases[1]
    bias = np.concatenate([*(biases[gate] for gate in ONNX_GATES), np.zeros(4 * size, np.float32)])
    peepholes = [_or_zeros(call, p + gate, size) for gate in range(3)]  # input, forget, output
    if not call.has(w):
        peepholes[0] = -peepholes[1]
    given = any(call.has(p + gate) for gate in range(3))
    along = np.concatenate([peepholes[0], peepholes[2], peepholes[1]]) if given else None
    ordered = [np.concatenate([part[gate] for gate in ONNX_GATES]) for part in (weights, recurrent)]
    return [*ordered, bias, along]


def _four(call: Call, first: int) -> list[np.ndarray]:
    found = [_constant(call, first + gate) if call.has(first + gate) else np.zeros(0) for gate in range(4)]
    if any(part.ndim != 2 for part in found[1:]):
        raise call.refuse("has recurrent weights that are no matrices, which is not supported")
    return found


def _constant(call: Call, index: int) -> np.ndarray:
    found = call.numbers(index)
    if found is None:
        raise call.refuse("computes its weights, which must be constants")
    return found.astype(np.float32)


def _or_zeros(call: Call, index: int, size: int) -> np.ndarray:
    return _constant(call, index).reshape(-1) if call.has(index) else np.zeros(size, np.float32)


def _lstm(call: Call, x: oir.Value, directions: Sequence[Sequence[np.ndarray | None]]) -> oir.Value:
    """(time, directions, batch, n)."""
    w, r, b = (call.const(np.stack([d[i] for d in directions if d[i] is not None])) for i in range(3))  # type: ignore[misc]
    size = call.shape(r)[2]
    peepholes = [d[3] for d in directions]
    p = None if any(part is None for part in peepholes) else call.const(np.stack(peepholes))  # type: ignore[arg-type]
    more = [] if p is None else [None, None, None, p]
    return call.op("LSTM", x, w, r, b, *more, hidden_size=size, direction=_direction(directions))


def _rnn(call: Call, x: oir.Value, directions: Sequence[tuple[int, int, int]]) -> oir.Value:
    kind = ACTIVATIONS[call.option("activation", 4)]
    if kind not in ("TANH", "RELU"):
        raise call.refuse(f"has the activation {kind}; only TANH and RELU are supported")
    w, r, b = ([_constant(call, places[i]) for places in directions] for i in range(3))
    biases = np.stack([np.concatenate([part, np.zeros_like(part)]) for part in b])
    attributes: dict[str, Any] = {"hidden_size": r[0].shape[0], "direction": _direction(directions)}
    attributes["activations"] = ["Tanh" if kind == "TANH" else "Relu"] * len(directions)
    return call.op("RNN", x, call.const(np.stack(w)), call.const(np.stack(r)), call.const(biases), **attributes)


def _direction(directions: Sequence[Any]) -> str:
    return "forward" if len(directions) == 1 else "bidirectional"


def _last_axis(call: Call, y: oir.Value) -> oir.Value:
    """(time, 1, batch, n) as (batch, time, n), or (time, batch, n) where the file counts time first."""
    y = call.op("Squeeze", y, call.const([1], "int64"))
    return y if call.option("time_major") else call.op("Transpose", y, perm=[1, 0, 2])


def _directions(call: Call, y: oir.Value) -> list[oir.Value]:
    """The outputs of both directions, or their features behind each other."""
    parts = call.writer.ops("Split", [y, call.const([1, 1], "int64")], 2, axis=1)
    ways = [_last_axis(call, part) for part in parts]
    return [call.op("Concat", *ways, axis=-1)] if call.option("merge_outputs") else ways


def svdf(call: Call) -> oir.Value:
    """Inputs: x (N, in), weights (f, in), weights in time (f, steps), bias (units,), state (N, f * steps).

    Each step the products with ``x`` enter the state; every filter's steps are weighted and summed, and ``rank``
    filters make a unit (Nakkiran et al., "Compressing Deep Neural Networks using a Rank-Constrained Topology", 2015).
    """
    rank = max(int(call.option("rank", 1)), 1)
    in_time = call.input(2)
    filters, steps = call.size(in_time, 0), call.size(in_time, 1)
    now = call.op("Gemm", call.input(0), call.weight(1, (0, 1)), transB=1)
    state = call.op("Reshape", call.state(4), call.const([-1, filters, steps], "int64"))
    older = call.op("Slice", state, *(call.const(part, "int64") for part in ([1], [steps], [2])))
    column = call.op("Unsqueeze", now, call.const([2], "int64"))
    new = call.op("Concat", older, column, axis=2)
    call.keep(4, call.op("Reshape", new, call.const([-1, filters * steps], "int64")))
    weighted = call.op("ReduceSum", call.op("Mul", new, in_time), call.const([2], "int64"), keepdims=0)
    units = call.op("Reshape", weighted, call.const([-1, filters // rank, rank], "int64"))
    y = call.op("ReduceSum", units, call.const([2], "int64"), keepdims=0)
    bias = call.optional(3)
    return y if bias is None else call.op("Add", y, bias)


def step_rnn(call: Call) -> oir.Value:
    """Inputs: x (N, in), weights, recurrent weights, bias, state (N, n). The output is the next state."""
    kind = ACTIVATIONS[call.option("activation", 4)]
    if kind not in ("TANH", "RELU"):
        raise call.refuse(f"has the activation {kind}; only TANH and RELU are supported")
    fresh = call.op("Gemm", call.input(0), call.weight(1, (0, 1)), call.input(3), transB=1)
    kept = call.op("Gemm", call.state(4), call.weight(2, (0, 1)), transB=1)
    y = call.op("Tanh" if kind == "TANH" else "Relu", call.op("Add", fresh, kept))
    call.keep(4, y)
    return y
