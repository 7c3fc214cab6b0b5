"""Faults of elementwise chains: how to recognise each, and the equal form that the target computes right.

Every ``find`` says what is wrong with a node of a float or QDQ graph, or nothing; every ``mend`` rewrites such a node
in place, every number unchanged, and returns whether it could.
"""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.htp.kernels import CLIPPING_ACTIVATIONS
from hexaquant.htp.qdq_view import View
from hexaquant.ir.graph import shape_of

ABSORBING = ("Add", "Sub", "Mul", "Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that try to do the clipping of a Clip behind them (Add, Sub, Mul and Gemm measured; Div does not)."""


BELOW_ONE = 0.999
"""A quantized range that ends at 1, as that of a Sigmoid, is right."""


def find_max_of_min(view: View, node: oir.Node) -> str:
    """Max(a, low) of a = Min(x, high), in 16 bits: low > 0 and both constants are scalars and the second operands."""
    if len(node.inputs) != 2 or not view.has_bits(node, 16):
        return ""
    inner = view.producer(node.inputs[0], "Min")
    low = view.number(node.inputs[1])
    if inner is None or low is None or low <= 0 or len(inner.inputs) != 2 or view.number(inner.inputs[1]) is None:
        return ""
    return f"clips what '{inner.name}' (Min) has clipped, both with the constant as second operand"


def swap_operands(view: View, node: oir.Node) -> bool:
    first, second = node.inputs
    node.replace_input_with(0, second)
    node.replace_input_with(1, first)
    return True


def find_clip_beside_zero(view: View, node: oir.Node) -> str:
    """A Clip whose constant bounds leave zero outside, after an operator that tries to do the clipping."""
    low, high = (view.number(value) for value in (*node.inputs[1:3], None, None)[:2])
    before = view.producer(node.inputs[0], *ABSORBING)
    if before is None or not ((low is not None and low > 0) or (high is not None and high < 0)):
        return ""
    if not (view.is_float(node) or view.has_bits(node, 8, 16)):
        return ""
    return f"has bounds that leave zero outside, and follows '{before.name}' ({before.op_type})"


def clip_as_min_of_max(view: View, node: oir.Node) -> bool:
    """What lies between holds the encoding of the output, so that rounding twice is rounding once."""
    output = node.outputs[0]
    name = node.outputs[0].name or "clip"
    source, low, high = (*node.inputs, None, None)[:3]
    bounds = [view.number(low), view.number(high)]
    if (low is not None and bounds[0] is None) or (high is not None and bounds[1] is None):
        return False
    parts = [(op, bound) for op, bound in zip(("Max", "Min"), bounds) if bound is not None]
    for op, bound in parts[:-1]:
        limit = view.operand(node, f"{name}_{op.lower()}", bound)
        source = view.insert(node, op, [source, limit], {}, f"{name}_above", output, shape_of(output) or ())
    op, bound = parts[-1]
    view.replace(node, op, [source, view.operand(node, f"{name}_{op.lower()}", bound)])
    return True


def find_clip_beyond_range(view: View, node: oir.Node) -> str:
    """A Clip(0, high) of a layer's quantized output whose encoding ends below ``high``."""
    low, high = (view.number(value) for value in (*node.inputs[1:3], None, None)[:2])
    held = view.span(node.outputs[0]) if view.is_qdq else None
    before = view.producer(node.inputs[0], *ABSORBING)
    if held is None or before is None or view.encoding(node.inputs[0]) is None:
        return ""
    if low != 0 or high is None or high <= held[1]:
        return ""
    return f"clips '{before.name}' ({before.op_type}) at {high:g}, beyond its encoding"


def clip_as_relu(view: View, node: oir.Node) -> bool:
    """The encoding of the output ends below the upper bound already."""
    view.replace(node, "Relu", [node.inputs[0]])
    return True


def find_small_reciprocal(view: View, node: oir.Node) -> str:
    """Before a plan any Reciprocal may be one of small values."""
    held = view.span(node.inputs[0])
    if view.is_qdq and (held is None or max(abs(held[0]), abs(held[1])) > BELOW_ONE):
        return ""
    return "has an input that stays below 1" if view.has_bits(node, 8, 16) else ""


def reciprocal_as_division(view: View, node: oir.Node) -> bool:
    one = view.operand(node, f"{node.outputs[0].name or 'reciprocal'}_one", 1.0)
    source = node.inputs[0]
    if source is not None and source.dtype not in (None, oir.DataType.FLOAT):
        return False
    view.replace(node, "Div", [one, source])
    return True


def find_undone_difference(view: View, node: oir.Node) -> str:
    """Add of c to a Relu or Clip of x - c. A quantized range that ends at zero may be such an activation, merged."""
    before = view.producer(node.inputs[0])
    held = view.span(node.inputs[0])
    is_activation = before is not None and before.op_type in CLIPPING_ACTIVATIONS
    difference = view.producer(before.inputs[0]) if is_activation and before is not None else before
    if difference is None or difference.op_type != "Sub":
        return ""
    clips = is_activation or (held is not None and 0.0 in held)
    if not clips or view.root(difference.inputs[1]) is not view.root(node.inputs[1]):
        return ""
    return f"adds what '{difference.name}' (Sub) subtracted before an activation"


def find_gated_by_itself(view: View, node: oir.Node) -> str:
    """A Mul of x by Sigmoid(x) in 16 bits, in a QDQ graph."""
    if view.bits(node.outputs[0]) != 16:
        return ""
    gate = _own_gate(view, node)
    return "" if gate is None else f"multiplies by the Sigmoid of the same tensor ('{gate.name}') in 16 bits"


def _own_gate(view: View, node: oir.Node) -> oir.Node | None:
    first, second = node.inputs
    for gate, other in ((first, second), (second, first)):
        sigmoid = view.producer(gate, "Sigmoid")
        if sigmoid is not None and view.root(sigmoid.inputs[0]) is view.root(other):
            return sigmoid
    return None


def gate_apart(view: View, node: oir.Node) -> bool:
    """A Max of the gate with -1, which it never falls to, keeps the target from merging the two. (Of zero, whose scale
    is arbitrary, the target makes zeros.)"""
    sigmoid, name = _own_gate(view, node), node.outputs[0].name or "gated"
    if sigmoid is None:
        return False
    index = next(i for i, value in enumerate(node.inputs) if view.producer(value) is sigmoid)
    gate = node.inputs[index]
    bound = view.operand(node, f"{name}_bound", -1.0)
    shape = () if gate is None else shape_of(gate) or ()
    node.replace_input_with(index, view.insert(node, "Max", [gate, bound], {}, f"{name}_gate", gate, shape))
    return True
