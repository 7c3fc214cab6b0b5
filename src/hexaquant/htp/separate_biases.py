"""A bias that several operators share becomes one bias for each operator.

The target's int32 bias has the scale s_x * s_w of its own operator; two operators with different inputs cannot share
one. Shared weights stay shared. Legal when the bias is a constant.
"""

from __future__ import annotations

from hexaquant.htp.kernels import BIAS_INPUTS
from hexaquant.ir.edit import copy_constant
from hexaquant.ir.graph import Graph, constant


def separate_biases(graph: Graph) -> int:
    """Returns the number of copies made."""
    seen: set[str] = set()
    changed = 0
    for node in graph.nodes:
        index = BIAS_INPUTS.get(node.op_type)
        if index is None or len(node.inputs) <= index:
            continue
        bias = node.inputs[index]
        if bias is None or constant(bias) is None:
            continue
        if bias.name in seen:
            seen.add(copy_constant(bias, node, index).name or "")
            changed += 1
        seen.add(bias.name or "")
    return changed
