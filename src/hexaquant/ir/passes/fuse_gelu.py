"""x * 0.5 * (1 + erf(x / sqrt(2))) -> Gelu (opset 20), in any order of the three factors.

1. The intermediate values are read only within the pattern; x may be read elsewhere.
2. The constants are 0.5, 1 and sqrt(2) (or its inverse, multiplied) within 1e-4 relative.
"""

from __future__ import annotations

import math

import onnx_ir as oir

from hexaquant.ir.edit import producer, replace_node
from hexaquant.ir.graph import Graph
from hexaquant.ir.passes.match import is_number, next_op, operand_pair, other_operand
from hexaquant.ir.rule import Declined, Rule


def _check(node: oir.Node) -> tuple[oir.Node, oir.Value] | Declined:
    """(the last Mul, x)."""
    x = _scaled_input(node.inputs[0])
    if x is None:
        return Declined("the input of Erf is not x / sqrt(2)")
    add = next_op(node.outputs[0], "Add")
    if add is None or operand_pair(add, 1.0) is not node.outputs[0]:
        return Declined("no Add of 1 is the only reader of Erf")
    root = _product(add.outputs[0], x)
    return Declined("1 + erf is not multiplied by x and 0.5, or read elsewhere") if root is None else (root, x)


def _fuse(graph: Graph, node: oir.Node, found: tuple[oir.Node, oir.Value]) -> None:
    root, x = found
    replace_node(root, "Gelu", [x], {})


fuse_gelu = Rule("fuse_gelu", ("Erf",), _check, _fuse)


def _scaled_input(value: oir.Value | None) -> oir.Value | None:
    """x of ``x / sqrt(2)`` or ``x * (1 / sqrt(2))``."""
    divide = producer(value, "Div")
    if divide is not None and is_number(divide.inputs[1], math.sqrt(2)):
        return divide.inputs[0]
    multiply = producer(value, "Mul")
    return operand_pair(multiply, math.sqrt(0.5)) if multiply is not None else None


def _product(factor: oir.Value, x: oir.Value) -> oir.Node | None:
    """The last Mul of ``factor * x * 0.5``."""
    first = next_op(factor, "Mul")
    if first is None:
        return None
    other = other_operand(first, factor)
    half = producer(other, "Mul")
    if half is not None and operand_pair(half, 0.5) is x:
        return first
    last = next_op(first.outputs[0], "Mul")
    if last is None or other is None:
        return None
    rest = other_operand(last, first.outputs[0])
    if (other is x and is_number(rest, 0.5)) or (is_number(other, 0.5) and rest is x):
        return last
    return None
