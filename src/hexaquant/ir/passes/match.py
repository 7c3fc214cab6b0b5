"""Helpers to recognise operator patterns: scalar constants, operands of commutative nodes, sole consumers."""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.ir.edit import int_attribute, producer, sole_consumer
from hexaquant.ir.graph import constant


def names_in(text: str) -> frozenset[str]:
    """Names of operators in a text of words."""
    return frozenset(text.split())


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
    left = node.inputs[0]
    right = node.inputs[1]
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


def mean_over_last(value: oir.Value | None) -> oir.Value | None:
    """v of ReduceMean(v) over the last dimension with keepdims."""
    node = producer(value, "ReduceMean")
    if node is None or int_attribute(node, "keepdims", 1) != 1 or len(node.inputs) < 2:
        return None
    axes = constant(node.inputs[1])
    source = node.inputs[0]
    if axes is None or axes.size != 1 or source is None:
        return None
    axis = int(axes.reshape(-1)[0])
    last = axis == -1 or (source.shape is not None and axis == len(source.shape) - 1)
    return source if last else None


def squared(value: oir.Value | None) -> oir.Value | None:
    """v of ``v * v`` or ``v ** 2``."""
    power = producer(value, "Pow")
    if power is not None and is_number(power.inputs[1], 2.0):
        return power.inputs[0]
    product = producer(value, "Mul")
    return product.inputs[0] if product is not None and product.inputs[0] is product.inputs[1] else None


def following_vector(node: oir.Node, op_type: str, size: int) -> tuple[oir.Node, oir.Value | None]:
    """The ``op_type`` that alone reads ``node`` and its constant of shape [size]; ``node`` and None without one."""
    following = next_op(node.outputs[0], op_type)
    operand = other_operand(following, node.outputs[0]) if following is not None else None
    data = constant(operand)
    if following is None or data is None or data.shape != (size,):
        return node, None
    return following, operand
