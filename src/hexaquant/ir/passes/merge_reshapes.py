"""Fewer Reshapes where frameworks keep or drop dimensions of size 1.

1. Reshape of a Reshape (Squeeze, Unsqueeze, Flatten) that nothing else reads, to a constant target without zeros but at
   position 0: one Reshape, if dimension 0 is the same before both.
2. A Reduce* without keepdims whose only reader reshapes the result to the shape with ones at the reduced axes: the
   Reduce* with keepdims.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import int_attribute, replace_node, sole_consumer
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.symbolic import dims_of

RESHAPING = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


def merge_reshapes(graph: Graph) -> int:
    """Returns the number of nodes that became one with the node before."""
    changed = 0
    for node in graph.nodes:
        if node.graph is None or node.domain != "" or node.op_type not in RESHAPING:
            continue
        first = node.inputs[0].producer() if node.inputs[0] is not None else None
        if first is None or first.domain != "" or sole_consumer(first.outputs[0]) is not node:
            continue
        if first.op_type.startswith("Reduce"):
            changed += _keep_dimensions(first, node)
        elif node.op_type == "Reshape" and first.op_type in RESHAPING:
            changed += _skip_first(first, node)
    return changed


def _skip_first(first: oir.Node, second: oir.Node) -> bool:
    target = constant(second.inputs[1])
    source = first.inputs[0]
    between = dims_of(first.outputs[0])
    before = dims_of(source)
    if target is None or source is None or not before or not between or int_attribute(second, "allowzero", 0):
        return False
    if (target[1:] == 0).any() or (target[0] == 0 and before[0] != between[0]):
        return False
    second.replace_input_with(0, source)
    return True


def _keep_dimensions(reduce: oir.Node, reshape: oir.Node) -> bool:
    axes = constant(reduce.inputs[1]) if len(reduce.inputs) > 1 else None
    before = dims_of(reduce.inputs[0])
    after = dims_of(reshape.outputs[0])
    if axes is None or int_attribute(reduce, "keepdims", 1) or not before or not after:
        return False
    listed = {int(a) % len(before) for a in axes.reshape(-1)}
    if after != [1 if i in listed else dim for i, dim in enumerate(before)] or "unknown__" in str(after):
        return False
    attributes = {"keepdims": 1}
    assert np.size(axes) > 0
    replace_node(reshape, reduce.op_type, list(reduce.inputs), attributes)
    return True
