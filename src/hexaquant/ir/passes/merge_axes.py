"""Operators on tensors of high rank, written on tensors in which neighbouring axes are one.

Every axis of an operator has a *key*: axes with equal keys next to each other may be one axis, since the operator
treats them alike. The key says which operands broadcast there (elementwise operators, Where, MatMul's batch), whether
the axis is reduced, cut, padded, repeated, or the one that Softmax, Concat, Gather ... work along. An axis of 1 in all
operands has none and goes. The operator then stands between Reshapes, which cancel against those of its neighbours:

    y = op (x)   ->   y = Reshape (op (Reshape (x)))

Every number stays what it is. The first axis counts as a batch of any size where that leaves few axes enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as oir
import sympy

from hexaquant.ir.edit import int_attribute
from hexaquant.ir.emitter import Emitter, free_dims
from hexaquant.ir.graph import constant
from hexaquant.ir.passes.match import names_in
from hexaquant.ir.symbolic import dims_of

Dims = list[sympy.Expr]
Groups = list[list[int]]

UNARY = names_in(
    "Abs Acos Asin Atan Cast Ceil Celu Clip Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity "
    "IsInf IsNaN LeakyRelu Log Mish Neg Not QuickGelu Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh "
    "Softplus Softsign Sqrt Tan Tanh ThresholdedRelu"
)
BROADCAST = names_in(
    "Add And BitwiseAnd BitwiseOr Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or "
    "PRelu Pow Sub Sum Where Xor"
)
REDUCTIONS = frozenset(f"Reduce{kind}" for kind in names_in("L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"))
ALONG = frozenset(["Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "LayerNormalization", "RMSNormalization"])
"""Operators that work along the axis of their attribute and keep the shape."""


@dataclass(frozen=True)
class Plan:
    """How a node is written: a key by axis, for each input its dimensions at these axes (None: taken as it is), for
    each output likewise, and ``build``, which gives the new inputs after the data and the new attributes."""

    keys: Sequence[Hashable]
    inputs: list[Dims | None]
    outputs: list[Dims]
    build: Callable[[Emitter, Groups], dict[str, Any]] = field(default=lambda emit, groups: {})
    extra: Callable[[Emitter, Groups], list[oir.Value | None]] = field(default=lambda emit, groups: [])


def merge_axes(node: oir.Node, limit: int) -> bool:
    """Write ``node`` on at most ``limit`` axes. False, and nothing changed, where that cannot be."""
    for dims in (free_dims, dims_of):
        plan = _plan(node, dims)
        groups = None if plan is None else grouped(plan.keys, limit)
        if plan is not None and groups is not None and _is_writable(plan, groups):
            _write(node, plan, groups)
            return True
    return False


def grouped(keys: Sequence[Hashable], limit: int) -> Groups | None:
    """At most ``limit`` groups of neighbouring axes of one key, merged no further than needed; None where impossible.

    Axes whose key is None belong to no group.
    """
    groups = [[axis] for axis, key in enumerate(keys) if key is not None]
    while len(groups) > limit:
        alike = [i for i in range(len(groups) - 1) if keys[groups[i][0]] == keys[groups[i + 1][0]]]
        if not alike:
            return None
        pair = next((i for i in alike if i), 0)  # the batch stays alone while it can
        groups[pair : pair + 2] = [groups[pair] + groups[pair + 1]]
    return groups or [[0]]


def _is_writable(plan: Plan, groups: Groups) -> bool:
    """Whether each shape has one free dimension at most."""
    shapes = [merged(dims, groups) for dims in plan.inputs if dims is not None]
    return all(sum(not d.is_Integer for d in dims) <= 1 for dims in (*shapes, *plan.outputs))


def merged(dims: Dims, groups: Groups) -> Dims:
    """The dimension of each group."""
    return [math.prod((dims[axis] for axis in group), start=sympy.Integer(1)) for group in groups]


def _write(node: oir.Node, plan: Plan, groups: Groups) -> None:
    emit = Emitter(node)
    name = node.outputs[0].name or "merged"
    inputs: list[oir.Value | None] = []
    for value, dims in zip(node.inputs, plan.inputs):
        keep = value is None or dims is None
        inputs.append(value if keep else _reshaped(emit, value, merged(dims, groups)))  # type: ignore[arg-type]
    attributes = {key: a.value for key, a in node.attributes.items() if isinstance(a, oir.Attr)}
    attributes |= plan.build(emit, groups)
    inputs += plan.extra(emit, groups)
    names = [f"{value.name or name}_merged" for value in node.outputs]
    results = emit.inferred(node.op_type, inputs, names, node.domain, **attributes)
    for value, result, dims in zip(node.outputs, results, plan.outputs):
        if value.name and (value.uses() or value.is_graph_output()):
            emit.replace_output(value, emit.reshaped(result, dims, f"{value.name}_apart"))
    emit.remove_node()


def _reshaped(emit: Emitter, value: oir.Value, dims: Dims) -> oir.Value:
    """``value`` in ``dims``, but for axes of 1 in front, which broadcasting adds."""
    stripped = list(dims)
    while stripped and stripped[0] == 1:
        stripped.pop(0)
    if constant(value) is not None and len(stripped) <= 1 and len(stripped) == len(value.shape or ()):
        return value
    if constant(value) is None and stripped == free_dims(value):
        return value
    return emit.reshaped(value, dims, f"{value.name}_joined")


def _plan(node: oir.Node, dims: Callable[[oir.Value], Dims | None]) -> Plan | None:
    if node.op_type in UNARY:
        rule: Callable[..., Plan | None] = _unary
    elif node.op_type in BROADCAST:
        rule = _broadcast
    elif node.op_type in REDUCTIONS:
        rule = _reduction
    elif node.op_type in ALONG:
        rule = _along
    else:
        rule = RULES.get(node.op_type, lambda *_: None)
    known = [dims(v) if v is not None else [] for v in (*node.inputs, *node.outputs)]
    if any(shape is None for shape in known):
        return None
    count = len(node.inputs)
    return rule(node, known[:count], known[count:])


def _unary(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan:
    keys = [None if dim == 1 else "all" for dim in inputs[0]]
    return Plan(keys, [inputs[0], *[None] * (len(inputs) - 1)], [inputs[0]])


def _aligned(dims: Dims, rank: int) -> Dims:
    return [sympy.Integer(1)] * (rank - len(dims)) + dims


def _broadcast(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan:
    rank = len(outputs[0])
    aligned = [_aligned(dims, rank) for dims in inputs]
    keys = [_spread([dims[axis] for dims in aligned]) for axis in range(rank)]
    single = [all(d == 1 for d in dims) and len(dims) <= 1 for dims in inputs]
    given: list[Dims | None] = [None if lone else dims for dims, lone in zip(aligned, single)]
    full = [next((dims[axis] for dims in aligned if dims[axis] != 1), sympy.Integer(1)) for axis in range(rank)]
    return Plan(keys, given, [full])


def _spread(dims: Dims) -> tuple[bool, ...] | None:
    """Which operands have the axis; None where it is 1 in all."""
    return None if all(d == 1 for d in dims) else tuple(d != 1 for d in dims)


def _reduction(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan | None:
    rank = len(inputs[0])
    given = node.inputs[1] if len(node.inputs) > 1 else None
    axes = constant(given) if given is not None else np.arange(rank)
    if axes is None or (not axes.size and int_attribute(node, "noop_with_empty_axes", 0)):
        return None
    listed = {int(a) % rank for a in (axes.reshape(-1) if axes.size else range(rank))}
    keys = [None if dim == 1 and axis not in listed else axis in listed for axis, dim in enumerate(inputs[0])]

    def new_axes(emit: Emitter, groups: Groups) -> list[oir.Value | None]:
        places = [i for i, group in enumerate(groups) if group[0] in listed]
        return [emit.constant(f"{node.outputs[0].name}_axes", np.array(places, np.int64))]

    kept = [sympy.Integer(1) if axis in listed else dim for axis, dim in enumerate(inputs[0])]
    if not int_attribute(node, "keepdims", 1):
        kept = [dim for axis, dim in enumerate(inputs[0]) if axis not in listed]
    return Plan(keys, [inputs[0]], [kept], lambda emit, groups: {"keepdims": 1}, new_axes)


def _single_axis(rank: int, axis: int, dims: Sequence[Dims]) -> list[Hashable]:
    """Before, at and behind ``axis``; None for other axes of 1."""
    keys: list[Hashable] = []
    for index in range(rank):
        lone = index != axis and all(shape[index] == 1 for shape in dims)
        keys.append(None if lone else (index > axis) - (index < axis))
    return keys


def _new_axis(axis: int) -> Callable[[Emitter, Groups], dict[str, Any]]:
    return lambda emit, groups: {"axis": next(i for i, group in enumerate(groups) if axis in group)}


def _along(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan | None:
    rank = len(inputs[0])
    axis = int_attribute(node, "axis", -1) % rank
    if "Normalization" in node.op_type and node.op_type != "LpNormalization" and axis != rank - 1:
        return None
    keys = _single_axis(rank, axis, inputs[:1])
    return Plan(keys, [inputs[0], *[None] * (len(inputs) - 1)], [inputs[0]], _new_axis(axis))


def _concat(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan:
    axis = int_attribute(node, "axis", 0) % len(outputs[0])
    keys = _single_axis(len(outputs[0]), axis, inputs)
    whole = [
        sum((dims[axis] for dims in inputs), sympy.Integer(0)) if i == axis else d for i, d in enumerate(inputs[0])
    ]
    return Plan(keys, list(inputs), [whole], _new_axis(axis))


def _split(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan | None:
    if any(not dims for dims in outputs):
        return None
    axis = int_attribute(node, "axis", 0) % len(inputs[0])
    keys = _single_axis(len(inputs[0]), axis, inputs[:1])
    parts = [[dims[axis] if i == axis else d for i, d in enumerate(inputs[0])] for dims in outputs]
    return Plan(keys, [inputs[0], *[None] * (len(inputs) - 1)], parts, _new_axis(axis))


def _gather(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan | None:
    data = inputs[0]
    places = inputs[1]
    axis = int_attribute(node, "axis", 0) % len(data)
    keys = _single_axis(len(data), axis, [data])
    result = [*data[:axis], *places, *data[axis + 1 :]]

    def flat_places(emit: Emitter, groups: Groups) -> list[oir.Value | None]:
        index = node.inputs[1]
        assert index is not None
        count = math.prod(places, start=sympy.Integer(1))
        return [index if len(places) == 1 else emit.reshaped(index, [count], f"{index.name}_flat")]

    return Plan(keys, [data], [result], _new_axis(axis), flat_places)


def _elements(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan | None:
    """GatherElements and ScatterElements: indices and data have the same size at the axes that merge."""
    axis = int_attribute(node, "axis", 0) % len(inputs[0])
    rank = len(inputs[0])
    keys = _single_axis(rank, axis, inputs)
    same = [len({dims[i] for dims in inputs}) == 1 for i in range(rank)]
    keys = [key if key is None or same[i] or i == axis else ("cut", i) for i, key in enumerate(keys)]
    result = inputs[1] if node.op_type == "GatherElements" else inputs[0]
    return Plan(keys, list(inputs), [result], _new_axis(axis))


def _top(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan | None:
    axis = int_attribute(node, "axis", -1) % len(inputs[0])
    size = next((dims[axis] for dims in outputs if dims), None)
    if size is None:
        return None
    keys = _single_axis(len(inputs[0]), axis, inputs[:1])
    result = [size if i == axis else d for i, d in enumerate(inputs[0])]
    return Plan(keys, [inputs[0], None], [result, result], _new_axis(axis))


def _first_place(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan:
    """ArgMax and ArgMin."""
    axis = int_attribute(node, "axis", 0) % len(inputs[0])
    keys = _single_axis(len(inputs[0]), axis, inputs[:1])
    kept = [sympy.Integer(1) if i == axis else d for i, d in enumerate(inputs[0])]
    if not int_attribute(node, "keepdims", 1):
        kept.pop(axis)
    return Plan(keys, [inputs[0]], [kept], lambda emit, groups: {**_new_axis(axis)(emit, groups), "keepdims": 1})


def _running(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan | None:
    """CumSum."""
    given = constant(node.inputs[1])
    if given is None:
        return None
    axis = int(given.reshape(-1)[0]) % len(inputs[0])

    def new_axis(emit: Emitter, groups: Groups) -> list[oir.Value | None]:
        place = next(i for i, group in enumerate(groups) if axis in group)
        return [emit.constant(f"{node.outputs[0].name}_axis", np.array(place, np.int64))]

    return Plan(_single_axis(len(inputs[0]), axis, inputs[:1]), [inputs[0]], [inputs[0]], extra=new_axis)


def _slice(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan | None:
    rank = len(inputs[0])
    given = [constant(v) if v is not None else None for v in (*node.inputs[1:5], None, None)[:4]]
    starts, ends = given[:2]
    if starts is None or ends is None:
        return None
    axes = (np.arange(len(starts)) if given[2] is None else given[2]) % rank
    steps = np.ones(len(starts), np.int64) if given[3] is None else given[3]
    cut = {int(a): i for i, a in enumerate(axes)}
    keys = [("cut", i) if i in cut else None if d == 1 else "whole" for i, d in enumerate(inputs[0])]

    def bounds(emit: Emitter, groups: Groups) -> list[oir.Value | None]:
        places = [(group[0], at) for at, group in enumerate(groups) if group[0] in cut]
        order = [cut[axis] for axis, _ in places]
        at = [place for _, place in places]
        arrays = (starts[order], ends[order], np.array(at), steps[order])
        return [emit.constant(f"{node.outputs[0].name}_cut", array.astype(np.int64)) for array in arrays]

    return Plan(keys, [inputs[0]], [_like(outputs[0], inputs[0])], extra=bounds)


def _like(dims: Dims, source: Dims) -> Dims:
    """``dims`` whose first one is free where that of ``source`` is."""
    return [source[0], *dims[1:]] if dims and source and dims[0] == 1 and not source[0].is_Integer else dims


def _pad(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan | None:
    pads = constant(node.inputs[1])
    rank = len(inputs[0])
    if pads is None or (len(node.inputs) > 3 and node.inputs[3] is not None):
        return None
    before, after = pads.reshape(2, -1)
    padded = [bool(b or a) for b, a in zip(before, after, strict=True)]
    keys = [("pad", i) if padded[i] else None if inputs[0][i] == 1 else "whole" for i in range(rank)]

    def sizes(emit: Emitter, groups: Groups) -> list[oir.Value | None]:
        ends = [[int(side[g[0]]) if padded[g[0]] else 0 for g in groups] for side in (before, after)]
        fill = node.inputs[2] if len(node.inputs) > 2 else None
        return [emit.constant(f"{node.outputs[0].name}_pads", np.array(ends).reshape(-1)), fill]

    return Plan(keys, [inputs[0]], [outputs[0]], extra=sizes)


def _expand(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan | None:
    rank = len(outputs[0])
    source = _aligned(inputs[0], rank)
    result = [new if old == 1 else old for old, new in zip(source, outputs[0])]
    if any(not new.is_Integer for old, new in zip(source, result) if old != new):
        return None
    keys = [None if new == 1 else old == new for old, new in zip(source, result)]

    def shape(emit: Emitter, groups: Groups) -> list[oir.Value | None]:
        ones = [int(d) if d.is_Integer else 1 for d in merged(result, groups)]
        return [emit.constant(f"{node.outputs[0].name}_shape", np.array(ones, np.int64))]

    return Plan(keys, [source], [result], extra=shape)


def _tile(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan | None:
    repeats = constant(node.inputs[1])
    if repeats is None:
        return None
    keys = [("tile", i) if n != 1 else None if d == 1 else "whole" for i, (d, n) in enumerate(zip(inputs[0], repeats))]

    def counts(emit: Emitter, groups: Groups) -> list[oir.Value | None]:
        numbers = [int(repeats[group[0]]) if repeats[group[0]] != 1 else 1 for group in groups]
        return [emit.constant(f"{node.outputs[0].name}_repeats", np.array(numbers, np.int64))]

    return Plan(keys, [inputs[0]], [_like(outputs[0], inputs[0])], extra=counts)


def _matmul(node: oir.Node, inputs: list[Dims], outputs: list[Dims]) -> Plan | None:
    left, right = inputs
    if min(len(left), len(right)) < 2:
        return None
    rank = len(outputs[0])
    a = _aligned(left, rank)
    b = _aligned(right, rank)
    keys: list[Hashable] = [_spread([a[i], b[i]]) for i in range(rank - 2)]
    keys += ["rows", "columns"]
    batch = [x if x != 1 else y for x, y in zip(a[:-2], b[:-2])]
    return Plan(keys, [a, None if len(right) == 2 else b], [[*batch, a[-2], b[-1]]])


RULES: dict[str, Callable[[oir.Node, list[Dims], list[Dims]], Plan | None]] = {
    "Concat": _concat,
    "Split": _split,
    "Gather": _gather,
    "GatherElements": _elements,
    "ScatterElements": _elements,
    "TopK": _top,
    "ArgMax": _first_place,
    "ArgMin": _first_place,
    "CumSum": _running,
    "Slice": _slice,
    "Pad": _pad,
    "Expand": _expand,
    "Tile": _tile,
    "MatMul": _matmul,
}
