"""What unrolling LSTM, GRU and RNN has in common: the operands, the input projection, the loop over time, the outputs.

    P = X W^T + b                      one Gemm for all steps, cut into T pieces of (batch, gates * hidden)
    h_t, c_t = cell(P_t, h_t-1, c_t-1) the gate equations, written by unroll_lstm, unroll_gru, unroll_rnn
    Y = Concat(h_0 ... h_T-1)

Qualcomm's reader of compiled graphs cannot hold recurrent operators, and inside one no tensor would have an encoding
of its own. Legal when:

1. the sequence length is static and at most MAX_STEPS;
2. W, R and B are constants, and there are no sequence lengths other than the full length;
3. the activations are the operator's default, without clip, peepholes or coupled input and forget gates.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from hexaquant.core.errors import InputError, TargetError
from hexaquant.ir.edit import int_attribute, string_attribute
from hexaquant.ir.emitter import Dim, Emitter
from hexaquant.ir.graph import Graph, Origin, constant, shape_of
from hexaquant.ir.passes.fold_constants import DERIVED_FROM

MAX_STEPS = 128
"""Longer sequences would make graphs of many thousand operators."""

UNROLLED = "hexaquant.unrolled"
"""Metadata of a weight of an unrolled layer: the JSON of what it is of which layer (:func:`weight_of`)."""

States = tuple[oir.Value | None, ...]
"""Hidden state (and cell state), each (batch, hidden); None is zero."""
Cell = Callable[[int, States], tuple[oir.Value, ...]]
"""One step: its time and the states before it; the states after it, hidden first."""


@dataclass(frozen=True)
class Layer:
    """A recurrent node read: ``w`` (D, gates * hidden, inputs), ``r`` (D, gates * hidden, hidden), ``b`` (D, 2 *
    gates * hidden); ``batch`` may be symbolic; ``backwards`` has one entry a direction."""

    node: oir.Node
    origin: Origin
    name: str
    w: np.ndarray
    r: np.ndarray
    b: np.ndarray
    steps: int
    batch: Dim
    backwards: tuple[bool, ...]
    batch_first: bool

    @property
    def hidden(self) -> int:
        return int(self.r.shape[2])


CellOf = Callable[[Emitter, Layer, int], Cell]
"""The step of a layer in one direction."""


def read_layer(graph: Graph, node: oir.Node, defaults: tuple[str, ...]) -> Layer:
    """The operands of ``node``, whose default activations are ``defaults``.

    Raises InputError for a dynamic or too long sequence, TargetError for a variant that cannot be unrolled.
    """
    origin = graph.origin(node)
    w, r, b = (constant(v) for v in (*node.inputs[1:3], _input(node, 3)))
    if w is None or r is None or (_input(node, 3) is not None and b is None):
        raise TargetError(f"{origin}: the weights of {node.op_type} are computed; make them constants of the model")
    batch_first = bool(int_attribute(node, "layout", 0))
    steps, batch = _length_and_batch(node, origin, batch_first)
    _refuse_variants(node, origin, defaults, steps)
    direction = string_attribute(node, "direction", "forward")
    backwards = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
    bias = np.zeros((len(w), 2 * w.shape[1]), w.dtype) if b is None else b
    name = origin.module or node.name or node.op_type.lower()
    return Layer(node, origin, name, w, r, bias, steps, batch, backwards, batch_first)


def _input(node: oir.Node, index: int) -> oir.Value | None:
    return node.inputs[index] if len(node.inputs) > index else None


def _length_and_batch(node: oir.Node, origin: Origin, batch_first: bool) -> tuple[int, Dim]:
    x = node.inputs[0]
    shape = shape_of(x) if x is not None else None
    if shape is None or len(shape) != 3:
        raise InputError(f"{origin}: the shape of {node.op_type}'s input is unknown; give input shapes with --shape")
    steps, batch = (shape[1], shape[0]) if batch_first else (shape[0], shape[1])
    if not isinstance(steps, int):
        raise InputError(
            f"{origin}: the sequence length of {node.op_type} is dynamic ('{steps}'); fix it with --shape, "
            f"to at most {MAX_STEPS} steps"
        )
    if steps > MAX_STEPS:
        raise InputError(
            f"{origin}: {node.op_type} over {steps} steps is too long to unroll (at most {MAX_STEPS}); feed the "
            "sequence in windows, with the state as an input and an output of the network"
        )
    return steps, batch


def _refuse_variants(node: oir.Node, origin: Origin, defaults: tuple[str, ...], steps: int) -> None:
    attributes = node.attributes
    names = [n.lower() for n in attributes["activations"].as_strings()] if "activations" in attributes else []
    lengths = _input(node, 4)
    full = constant(lengths)
    variants = {
        "a clip": "clip" in attributes and attributes["clip"].as_float() > 0,
        "peepholes": node.op_type == "LSTM" and _input(node, 7) is not None,
        "coupled gates (input_forget)": int_attribute(node, "input_forget", 0) != 0,
        f"activations {names}": any(n != defaults[i % len(defaults)].lower() for i, n in enumerate(names)),
        "lengths a sample": lengths is not None and (full is None or bool((full != steps).any())),
    }
    found = next((what for what, there in variants.items() if there), None)
    if found:
        raise TargetError(
            f"{origin}: {node.op_type} with {found} cannot run on the target; use the plain {node.op_type} of "
            "PyTorch (all sequences padded to one length)"
        )


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
    sources = [_input(layer.node, index) for index in (1, 2, 3)]
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


def unroll(graph: Graph, op_type: str, activations: tuple[str, ...], cell_of: CellOf, states: tuple[int, ...]) -> int:
    """Replace all operators ``op_type`` and return their number. ``states``: the inputs of initial states.

    Raises InputError or TargetError for one that cannot be replaced.
    """
    changed = 0
    for node in graph.nodes:
        if node.op_type == op_type:
            layer = read_layer(graph, node, activations)
            _unroll(Emitter(node), layer, cell_of, states)
            changed += 1
    return changed


def _unroll(emit: Emitter, layer: Layer, cell_of: CellOf, states: tuple[int, ...]) -> None:
    runs = []
    for d, backwards in enumerate(layer.backwards):
        runs.append(_run(layer, cell_of(emit, layer, d), _initial(emit, layer, d, states), backwards))
    outputs = layer.node.outputs
    if _is_used(outputs[0]):
        emit.replace_output(outputs[0], _sequence_output(emit, layer, [hidden for hidden, _ in runs]))
    for index, output in enumerate(outputs[1:]):
        if _is_used(output):
            finals = [last[index] for _, last in runs]
            emit.replace_output(output, _state_output(emit, layer, finals, output.name or ""))
    emit.remove_node()


def _is_used(value: oir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def _run(layer: Layer, cell: Cell, states: States, backwards: bool) -> tuple[list[oir.Value], tuple[oir.Value, ...]]:
    """Hidden state of each time, and the states after the last step."""
    hidden: dict[int, oir.Value] = {}
    last: tuple[oir.Value, ...] = ()
    for t in reversed(range(layer.steps)) if backwards else range(layer.steps):
        last = cell(t, states)
        states, hidden[t] = last, last[0]
    return [hidden[t] for t in range(layer.steps)], last


def _initial(emit: Emitter, layer: Layer, direction: int, inputs: tuple[int, ...]) -> States:
    return tuple(_initial_state(emit, layer, direction, _input(layer.node, index)) for index in inputs)


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
