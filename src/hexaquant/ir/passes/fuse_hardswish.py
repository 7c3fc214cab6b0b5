"""clip(x + 3, 0, 6) / 6 -> HardSigmoid(1/6, 1/2), and x * HardSigmoid(x) or x * clip(x + 3, 0, 6) / 6 -> HardSwish.

1. The intermediate values are read only within the pattern; x may be read elsewhere.
2. Constants agree within 1e-4 relative; alpha and beta of HardSigmoid are 1/6 and 1/2.
"""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.ir.edit import producer, replace_node, sole_consumer
from hexaquant.ir.graph import Graph
from hexaquant.ir.passes.match import is_number, operand_pair, other_operand, scalar
from hexaquant.ir.rule import Declined, Rule

Gate = tuple[str, oir.Value]
"""The operator to form and x."""


def _check(node: oir.Node) -> Gate | Declined | None:
    if len(node.inputs) != 2:
        return None
    found = _hard_sigmoid(node) or _hard_swish(node)
    if found is None and producer(_sixth_of(node), "Clip") is not None:
        return Declined("before the division by 6 is no Clip of x + 3 to 0 and 6, or it is read elsewhere")
    return found


def _form(graph: Graph, node: oir.Node, found: Gate) -> None:
    operator, x = found
    replace_node(node, operator, [x], {"alpha": 1 / 6, "beta": 0.5} if operator == "HardSigmoid" else {})


def _sixth_of(node: oir.Node) -> oir.Value | None:
    """v of ``v / 6`` or ``v * (1 / 6)``."""
    if node.op_type == "Div":
        return node.inputs[0] if is_number(node.inputs[1], 6.0) else None
    return operand_pair(node, 1 / 6)


def _shifted_clip(value: oir.Value | None) -> oir.Value | None:
    """x of ``clip(x + 3, 0, 6)`` that only one node reads."""
    clip = producer(value, "Clip")
    if clip is None or sole_consumer(value) is None or len(clip.inputs) < 3:
        return None
    add = producer(clip.inputs[0], "Add")
    if scalar(clip.inputs[1]) != 0.0 or not is_number(clip.inputs[2], 6.0) or add is None:
        return None
    return operand_pair(add, 3.0) if sole_consumer(add.outputs[0]) is clip else None


def _hard_sigmoid(node: oir.Node) -> Gate | None:
    x = _shifted_clip(_sixth_of(node))
    return None if x is None else ("HardSigmoid", x)


def _hard_swish(node: oir.Node) -> Gate | None:
    product = producer(_sixth_of(node), "Mul")
    if product is not None and sole_consumer(product.outputs[0]) is node:
        for index in (0, 1):
            x = product.inputs[1 - index]
            if x is not None and _shifted_clip(product.inputs[index]) is x:
                return "HardSwish", x
    if node.op_type != "Mul":
        return None
    for gate_value in node.inputs:
        gate = producer(gate_value, "HardSigmoid")
        if gate is None or gate_value is None or sole_consumer(gate_value) is not node or not _is_sixth(gate):
            continue
        x = gate.inputs[0]
        if x is not None and other_operand(node, gate_value) is x:
            return "HardSwish", x
    return None


def _is_sixth(gate: oir.Node) -> bool:
    alpha = gate.attributes["alpha"].as_float() if "alpha" in gate.attributes else 0.2
    beta = gate.attributes["beta"].as_float() if "beta" in gate.attributes else 0.5
    return abs(alpha - 1 / 6) < 1e-5 and abs(beta - 0.5) < 1e-6


fuse_hardswish = Rule("fuse_hardswish", ("Mul", "Div"), _check, _form)
