"""Layers in forms that few kernels have, in the form that all have. Every one is exact.

1. ConvTranspose with dilation: the same without, of a kernel with zeros between its elements.
2. LayerNormalization from an axis before the last one on: of the flattened rest.
3. Clip with computed bounds: Min of Max.
4. Mod of integers (the sign of the divisor): a - a / b * b, twice where a may be negative. The divisor is a positive
   constant.
5. LpNormalization over one element: its sign. (x / |x|; a target refuses it in float16 behind some operators.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as oir
import sympy

from hexaquant.ir.edit import int_attribute, ints_attribute
from hexaquant.ir.emitter import Emitter, free_dims
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.wrap_indices import may_be_negative
from hexaquant.ir.symbolic import dims_of


def plain_layers(graph: Graph) -> int:
    """Returns the number of operators rewritten."""
    forms = {
        "ConvTranspose": _undilated,
        "LayerNormalization": _last_axis,
        "Clip": _min_of_max,
        "Mod": _remainder,
        "LpNormalization": _sign,
    }
    changed = 0
    for node in graph.nodes:
        if node.domain == "" and node.op_type in forms:
            changed += forms[node.op_type](node)
    return changed


def _undilated(node: oir.Node) -> bool:
    spread = ints_attribute(node, "dilations")
    weight = constant(node.inputs[1])
    if weight is None or all(d == 1 for d in spread):
        return False
    sizes = [(size - 1) * d + 1 for size, d in zip(weight.shape[2:], spread, strict=True)]
    spaced = np.zeros((*weight.shape[:2], *sizes), weight.dtype)
    steps: tuple[Any, ...] = tuple(slice(None, None, d) for d in spread)
    spaced[(..., *steps)] = weight
    value = node.inputs[1]
    node.replace_input_with(1, Emitter(node).constant(f"{value.name if value else 'weight'}_spaced", spaced))
    node.attributes.pop("dilations")
    if "kernel_shape" in node.attributes:
        node.attributes["kernel_shape"] = oir.AttrInt64s("kernel_shape", sizes)
    return True


def _last_axis(node: oir.Node) -> bool:
    source = node.inputs[0]
    scale = constant(node.inputs[1])
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    dims = free_dims(source) if source is not None else None
    if source is None or dims is None or scale is None or any(v.uses() for v in node.outputs[1:]):
        return False
    axis = int_attribute(node, "axis", -1) % len(dims)
    if axis == len(dims) - 1 or axis == 0 or not all(d.is_Integer for d in dims[axis:]):
        return False
    rest = [int(d) for d in dims[axis:]]
    emit = Emitter(node)
    name = node.outputs[0].name or "normalized"
    flat = emit.reshaped(source, [*dims[:axis], sympy.Integer(math.prod(rest))], f"{name}_flat")
    given = [(node.inputs[1], scale), *([] if bias is None else [(node.inputs[2], bias)])]
    vectors = [emit.constant(f"{v.name if v else name}_flat", np.broadcast_to(a, rest).reshape(-1)) for v, a in given]
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    value = emit.op("LayerNormalization", [flat, *vectors], f"{name}_vector", axis=-1, epsilon=epsilon)
    emit.finish(emit.reshaped(value, dims, f"{name}_whole"))
    return True


def _min_of_max(node: oir.Node) -> bool:
    low, high = (*node.inputs[1:3], None, None)[:2]
    if all(value is None or constant(value) is not None for value in (low, high)):
        return False
    emit = Emitter(node)
    value = node.inputs[0]
    name = node.outputs[0].name or "clipped"
    for op_type, bound in (("Max", low), ("Min", high)):
        if bound is not None:
            value = emit.op(op_type, [value, bound], f"{name}_{op_type.lower()}")
    assert value is not None
    emit.finish(value)
    return True


def _remainder(node: oir.Node) -> bool:
    a = node.inputs[0]
    divisor = constant(node.inputs[1])
    whole = a is not None and a.dtype is not None and a.dtype.is_integer()
    if a is None or not whole or divisor is None or (divisor <= 0).any() or int_attribute(node, "fmod", 0):
        return False
    emit = Emitter(node)
    name = node.outputs[0].name or "remainder"
    b = node.inputs[1]
    value = _rest(emit, a, b, name)
    if may_be_negative(a):
        value = _rest(emit, emit.op("Add", [value, b], f"{name}_raised"), b, name)
    emit.finish(value)
    return True


def _sign(node: oir.Node) -> bool:
    dims = dims_of(node.inputs[0])
    if not dims or dims[int_attribute(node, "axis", -1)] != 1:
        return False
    emit = Emitter(node)
    emit.finish(emit.op("Sign", [node.inputs[0]], f"{node.outputs[0].name}_sign"))
    return True


def _rest(emit: Emitter, a: oir.Value, b: oir.Value | None, name: str) -> oir.Value:
    """a - a / b * b, of the sign of a."""
    times = emit.op("Div", [a, b], f"{name}_times")
    return emit.op("Sub", [a, emit.op("Mul", [times, b], f"{name}_whole")], f"{name}_rest")
