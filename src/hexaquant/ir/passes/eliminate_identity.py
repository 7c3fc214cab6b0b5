"""Remove nodes that pass their first input on unchanged.

1. Identity, Dropout in inference mode (mask output unread), Cast to the type the tensor has.
2. Pad by constant zeros, Transpose by the identity permutation, Expand, Reshape and Flatten to the same shape,
   Slice by steps of 1 to the same shape, Concat or Sum of one tensor.
3. Add or Sub of a constant scalar 0, Mul or Div by a constant scalar 1 (float, and the shape does not grow).
4. A Slice that reverses the axis that a Slice before it reversed (a bidirectional layer's backward half).
5. A node between a graph input (or a parameter) and a graph output stays, and so does a convert of the plan.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import bypass, int_attribute, ints_attribute, producer
from hexaquant.ir.graph import CONVERT, Graph, constant
from hexaquant.ir.symbolic import dims_of


def eliminate_identity(graph: Graph) -> int:
    """Returns the number of nodes removed."""
    changed = 0
    for node in graph.nodes:
        if node.domain != "" or CONVERT in node.metadata_props:
            continue
        if any(list(v.uses()) or v.is_graph_output() for v in node.outputs[1:]):
            continue
        source = _passed_on(node)
        if source is not None and bypass(graph, node, source):
            changed += 1
    return changed


def _passed_on(node: oir.Node) -> oir.Value | None:
    first = node.inputs[0] if node.inputs else None
    if first is None:
        return None
    op = node.op_type
    if op in ("Identity", "Dropout"):
        return first if op == "Identity" or _is_inference(node) else None
    if op == "Cast":
        return first if first.dtype is not None and int(first.dtype) == int_attribute(node, "to", 0) else None
    if op in ("Concat", "Sum", "Max", "Min", "Mean"):
        return first if len(node.inputs) == 1 else None
    if op == "Transpose":
        perm = ints_attribute(node, "perm")
        return first if perm and perm == sorted(perm) else None
    if op == "Pad":
        pads = constant(node.inputs[1])
        return first if pads is not None and not pads.any() else None
    if op in ("Reshape", "Flatten", "Expand"):
        return first if _same_shape(first, node.outputs[0]) else None
    if op == "Slice":
        return first if _takes_everything(node) else _reversed_twice(node)
    return _neutral(node)


def _takes_everything(node: oir.Node) -> bool:
    """A Slice forwards, one by one, whose result has the size of its input."""
    steps = constant(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1)
    return steps is not None and bool((steps == 1).all()) and _same_shape(node.inputs[0], node.outputs[0])


def _reversed_twice(node: oir.Node) -> oir.Value | None:
    """What stood before the Slice that ``node`` undoes."""
    before = producer(node.inputs[0], "Slice")
    axis = _reversed_axis(node)
    return before.inputs[0] if before is not None and axis is not None and _reversed_axis(before) == axis else None


def _reversed_axis(node: oir.Node) -> int | None:
    """The one axis that a Slice reverses from end to end; None for any other Slice."""
    bounds = [constant(v) for v in node.inputs[1:]]
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if shape is None or len(bounds) != 4 or any(b is None or b.size != 1 for b in bounds):
        return None
    start, end, axis, step = (int(b.reshape(-1)[0]) for b in bounds if b is not None)
    size = shape[axis]
    if step != -1 or not isinstance(size, int):
        return None
    whole = (start == -1 or start >= size - 1) and end < -size
    return axis % len(shape) if whole else None


def _is_inference(node: oir.Node) -> bool:
    mode = node.inputs[2] if len(node.inputs) > 2 else None
    flag = constant(mode)
    return mode is None or (flag is not None and not bool(flag))


def _same_shape(left: oir.Value | None, right: oir.Value) -> bool:
    a = dims_of(left) if left is not None else None
    b = dims_of(right)
    return a is not None and a == b and "unknown__" not in str(b)


NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}


def _neutral(node: oir.Node) -> oir.Value | None:
    """The other operand of ``x + 0``, ``x - 0``, ``x * 1`` and ``x / 1``."""
    if node.op_type not in NEUTRAL or len(node.inputs) != 2:
        return None
    for index in (1, 0) if node.op_type in ("Add", "Mul") else (1,):
        number = constant(node.inputs[index])
        other = node.inputs[1 - index]
        if number is None or number.size != 1 or other is None or other.shape is None or constant(other) is not None:
            continue
        if number.ndim <= len(other.shape) and bool(np.all(number == NEUTRAL[node.op_type])):
            return other
    return None
