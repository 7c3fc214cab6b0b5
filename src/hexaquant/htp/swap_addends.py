"""Add(f(x - c), c) becomes Add(c, f(x - c)), for f a Relu or Clip and c the same tensor.

The target cancels the subtraction against the addition over an activation that the quantized output does by its own
clipping (4 dB in 8 and 16 bits, on the emulator of release 2.7.0); with the operands the other way round it does not
(exact).
"""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.htp import kernels
from hexaquant.ir.edit import producer
from hexaquant.ir.graph import Graph


def swap_addends(graph: Graph) -> int:
    """Returns the number of additions changed."""
    changed = 0
    for node in graph.nodes:
        if node.op_type == "Add" and _undoes(node.inputs[0], node.inputs[1]):
            first, second = node.inputs
            node.replace_input_with(0, second)
            node.replace_input_with(1, first)
            changed += 1
    return changed


def _undoes(value: oir.Value | None, addend: oir.Value | None) -> bool:
    """Whether ``value`` is an activation of a difference in which ``addend`` was subtracted."""
    activation = None if value is None else value.producer()
    if activation is None or activation.op_type not in kernels.CLIPPING_ACTIVATIONS:
        return False
    difference = producer(activation.inputs[0], "Sub")
    return difference is not None and difference.inputs[1] is addend
