"""What unrolling LSTM, GRU and RNN has in common: the input projection, the loop over time, the outputs.

    P = X W^T + b                      one Gemm for all steps, cut into T pieces of (batch, gates * hidden)
    h_t, c_t = cell(P_t, h_t-1, c_t-1) the gate equations, written by unroll_lstm, unroll_gru, unroll_rnn
    Y = Concat(h_0 ... h_T-1)

Where the target has float16 this happens at lowering, in float16: the operator is one up to there. Elsewhere (v68) it
happens before planning, and every step has integers. The conditions are those of layer.py. Beyond its length a sequence
keeps its state and its outputs are zero.

In float16 no Add stands before a Tanh: the target joins the two of a row to one kernel that errs by up to 1 % (41 dB
instead of 70); so the cells subtract what has negative weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from hexaquant.htp.recurrent.layer import Layer, operand, read_layer
from hexaquant.ir.emitter import Dim, Emitter
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.fold_constants import DERIVED_FROM

UNROLLED = "hexaquant.unrolled"
"""Metadata of a weight of an unrolled layer: the JSON of what it is of which layer (:func:`weight_of`)."""

States = tuple[oir.Value | None, ...]
"""Hidden state (and cell state), each (batch, hidden); None is zero."""
Cell = Callable[[int, States], tuple[oir.Value, ...]]
"""One step: its time and the states before it; the states after it, hidden first."""


CellOf = Callable[[Emitter, Layer, int], Cell]
"""The step of a layer in one direction."""


def project_inputs(emit: Emitter, layer: Layer, direction: int, bias: np.ndarray) -> oir.Value:
    """X W^T + ``bias`` of all steps: (steps * batch, gates * hidden), time first."""
    x = layer.node.inputs[0]
    batch = layer.batch
    w = layer.w[direction]
    name = direction_name(layer, direction)
    assert x is not None
    inputs = w.shape[1]
    if layer.batch_first:
        x = emit.op("Transpose", [x], f"{name}_time_first", (layer.steps, batch, inputs), perm=[1, 0, 2])
    flat = emit.reshape(x, [-1, inputs], f"{name}_frames", (_times(layer.steps, batch), inputs))
    weight = weight_of(emit, layer, direction, "weight_ih", w)
    vector = emit.constant(f"{name}.bias_ih", bias)
    return emit.linear(flat, weight, vector, f"{name}_projected")


def weight_of(emit: Emitter, layer: Layer, direction: int, part: str, array: np.ndarray) -> oir.Value:
    """A constant with the ``part`` of ``layer``'s weights, which remembers where it came from (sim/write_back.py)."""
    value = emit.constant(f"{direction_name(layer, direction)}.{part}", array)
    sources = [operand(layer.node, index) for index in (1, 2, 3)]
    history = ["" if v is None else v.metadata_props.get(DERIVED_FROM) or v.name for v in sources]
    told = {"op": layer.node.op_type, "direction": direction, "part": part}
    value.metadata_props[UNROLLED] = json.dumps(told | dict(zip("WRB", history, strict=True)))
    return value


def cut_steps(emit: Emitter, layer: Layer, rows: oir.Value) -> list[oir.Value]:
    """(steps * batch, n) as one (batch, n) a step."""
    assert rows.shape is not None
    if layer.steps == 1:
        return [rows]
    names = [f"{rows.name}_t{t}" for t in range(layer.steps)]
    shapes = [(layer.batch, rows.shape[1])] * layer.steps
    return emit.ops("Split", [rows], names, shapes, axis=0, num_outputs=layer.steps)  # type: ignore[arg-type]


def direction_name(layer: Layer, direction: int) -> str:
    """Beginning of the names of everything that ``direction`` computes."""
    return f"{layer.name}_reverse" if layer.backwards[direction] else layer.name


def unroll(graph: Graph, op_type: str, cell_of: CellOf, states: tuple[int, ...], in_float: bool) -> int:
    """Replace all operators ``op_type`` and return their number. ``states``: the inputs of initial states.

    Raises InputError or TargetError for one that cannot be replaced.
    """
    changed = 0
    for node in graph.nodes:
        if node.op_type == op_type and node.domain == "":
            layer = read_layer(graph, node, in_float)
            _unroll(Emitter(node), layer, cell_of, states)
            changed += 1
    return changed


def _unroll(emit: Emitter, layer: Layer, cell_of: CellOf, states: tuple[int, ...]) -> None:
    runs = []
    alive = _alive(emit, layer)
    for d, backwards in enumerate(layer.backwards):
        run = _Run(emit, layer, direction_name(layer, d), alive)
        runs.append(run.over_time(cell_of(emit, layer, d), _initial(emit, layer, d, states), backwards))
    outputs = layer.node.outputs
    if _is_used(outputs[0]):
        emit.replace_output(outputs[0], _sequence_output(emit, layer, [hidden for hidden, _ in runs]))
    for index, output in enumerate(outputs[1:]):
        if _is_used(output):
            finals = [last[index] for _, last in runs]
            emit.replace_output(output, _state_output(emit, layer, finals, output.name or ""))
    emit.remove_node()


def _alive(emit: Emitter, layer: Layer) -> list[oir.Value] | None:
    """Whether each sequence still goes on, bool (batch, 1) for each step; None: all do at all steps."""
    if layer.lengths is None:
        return None
    name = f"{layer.name}_alive"
    times = emit.constant(f"{name}_times", np.arange(layer.steps, dtype=np.int32)[:, None])
    whole = emit.op("Less", [times, layer.lengths], name)
    shape = emit.constant(f"{name}_shape", np.array([-1, 1], np.int64))
    column = emit.op("Reshape", [whole, shape], f"{name}_column")
    if layer.steps == 1:
        return [column]
    return emit.inferred("Split", [column], [f"{name}_t{t}" for t in range(layer.steps)], num_outputs=layer.steps)


def _is_used(value: oir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


@dataclass(frozen=True)
class _Run:
    """One direction of a layer; ``name``: the beginning of its names; ``alive``: see :func:`_alive`."""

    emit: Emitter
    layer: Layer
    name: str
    alive: list[oir.Value] | None

    def over_time(self, cell: Cell, states: States, backwards: bool) -> tuple[list[oir.Value], tuple[oir.Value, ...]]:
        """Hidden state of each time, and the states after the last step."""
        times = range(self.layer.steps)
        hidden: dict[int, oir.Value] = {}
        last: tuple[oir.Value, ...] = ()
        for t in reversed(times) if backwards else times:
            new = cell(t, states)
            last = tuple(self._kept(t, value, before, kind) for value, before, kind in zip(new, states, "hc"))
            hidden[t] = self._kept(t, new[0], None, "shown")
            states = last
        return [hidden[t] for t in times], last

    def _kept(self, t: int, new: oir.Value, before: oir.Value | None, kind: str) -> oir.Value:
        """``new`` where the sequence goes on at time ``t``, else ``before`` (None: zero)."""
        if self.alive is None:
            return new
        name = f"{self.name}_t{t}_kept_{kind}"
        if before is None:
            before = self.emit.constant(f"{name}_zero", np.zeros((1, self.layer.hidden), np.float32))
        shape = (self.layer.batch, self.layer.hidden)
        return self.emit.op("Where", [self.alive[t], new, before], name, shape)


def _initial(emit: Emitter, layer: Layer, direction: int, inputs: tuple[int, ...]) -> States:
    return tuple(_initial_state(emit, layer, direction, operand(layer.node, index)) for index in inputs)


def _initial_state(emit: Emitter, layer: Layer, direction: int, value: oir.Value | None) -> oir.Value | None:
    """The (batch, hidden) part of an initial state (D, batch, hidden), or (batch, D, hidden) when batch first."""
    if value is None:
        return None
    name = f"{direction_name(layer, direction)}_{value.name}"
    axis = 1 if layer.batch_first else 0
    data = constant(value)
    if data is not None:
        return emit.constant(name, np.take(data, direction, axis))
    if len(layer.w) > 1:
        bounds = [emit.constant(f"{name}_bound", np.array([n], np.int64)) for n in (direction, direction + 1)]
        axes = emit.constant(f"{name}_axis", np.array([axis], np.int64))
        dims: list[Dim] = [layer.batch, layer.hidden]
        dims.insert(axis, 1)
        value = emit.op("Slice", [value, *bounds, axes], f"{name}_slice", dims)
    return emit.reshape(value, [-1, layer.hidden], name, (layer.batch, layer.hidden))


def _sequence_output(emit: Emitter, layer: Layer, runs: list[list[oir.Value]]) -> oir.Value:
    """Y: (steps, D, batch, hidden), or (batch, steps, D, hidden) when batch first."""
    steps = layer.steps
    batch = layer.batch
    hidden = layer.hidden
    parts = []
    for direction, run in enumerate(runs):
        name = direction_name(layer, direction)
        rows = emit.op("Concat", run, f"{name}_rows", (_times(steps, batch), hidden), axis=0) if steps > 1 else run[0]
        parts.append(emit.reshape(rows, [steps, 1, -1, hidden], f"{name}_steps", (steps, 1, batch, hidden)))
    y = parts[0]
    if len(parts) > 1:
        y = emit.op("Concat", parts, f"{layer.name}_both", (steps, len(parts), batch, hidden), axis=1)
    if layer.batch_first:
        shape = (batch, steps, len(parts), hidden)
        y = emit.op("Transpose", [y], f"{layer.name}_batch_first", shape, perm=[2, 0, 1, 3])
    return y


def _state_output(emit: Emitter, layer: Layer, states: list[oir.Value], name: str) -> oir.Value:
    """A last state: (D, batch, hidden), or (batch, D, hidden) when batch first."""
    batch = layer.batch
    hidden = layer.hidden
    axis = 1 if layer.batch_first else 0
    target: list[int] = [-1, hidden]
    shape: list[Dim] = [batch, hidden]
    target.insert(axis, 1)
    shape.insert(axis, 1)
    parts = [emit.reshape(s, target, f"{name}_{i}", shape) for i, s in enumerate(states)]
    if len(parts) == 1:
        return parts[0]
    shape[axis] = len(parts)
    return emit.op("Concat", parts, f"{name}_both", shape, axis=axis)


def _times(steps: int, batch: Dim) -> Dim:
    return steps * batch if isinstance(batch, int) else None
