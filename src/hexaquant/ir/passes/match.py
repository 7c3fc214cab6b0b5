"""Helpers to recognise operator patterns: scalar constants, operands of commutative nodes, sole consumers."""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.ir.edit import sole_consumer
from hexaquant.ir.graph import constant


def scalar(value: oir.Value | None) -> float | None:
    """The number in a constant of one element, else None."""
    data = constant(value)
    return float(data.reshape(-1)[0]) if data is not None and data.size == 1 else None


def is_number(value: oir.Value | None, number: float, tolerance: float = 1e-4) -> bool:
    """Whether ``value`` is a one-element constant equal to ``number`` within a relative ``tolerance``."""
    found = scalar(value)
    return found is not None and abs(found - number) <= tolerance * max(abs(number), 1e-30)


def is_op(node: oir.Node | None, *op_types: str) -> bool:
    """Whether ``node`` exists and is one of ``op_types`` of the default domain."""
    return node is not None and node.domain == "" and node.op_type in op_types


def other_operand(node: oir.Node, value: oir.Value) -> oir.Value | None:
    """The operand of a two-input node that is not ``value``; ``value`` itself when both are."""
    left, right = node.inputs[0], node.inputs[1]
    return right if left is value else left


def next_op(value: oir.Value, *op_types: str) -> oir.Node | None:
    """The sole consumer of ``value`` when it is one of ``op_types``."""
    node = sole_consumer(value)
    return node if is_op(node, *op_types) else None


def operand_pair(node: oir.Node, number: float) -> oir.Value | None:
    """The other operand of a commutative node one of whose operands is the constant ``number``."""
    if len(node.inputs) != 2:
        return None
    for index in (0, 1):
        if is_number(node.inputs[index], number):
            return node.inputs[1 - index]
    return None
