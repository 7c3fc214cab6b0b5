"""ReduceMean over all spatial dimensions, kept -> GlobalAveragePool.

1. The input has rank 4 (N, C, H, W); the axes are constant and exactly the last two; keepdims is 1.
"""

from __future__ import annotations

from hexaquant.ir.edit import int_attribute, replace_node
from hexaquant.ir.graph import Graph, constant


def form_global_pool(graph: Graph) -> int:
    """Returns the number of ReduceMean nodes replaced."""
    changed = 0
    for node in graph.nodes:
        if node.op_type != "ReduceMean" or node.domain != "" or len(node.inputs) < 2:
            continue
        axes, source = constant(node.inputs[1]), node.inputs[0]
        if axes is None or source is None or source.shape is None or len(source.shape) != 4:
            continue
        if sorted(int(a) % 4 for a in axes.reshape(-1)) == [2, 3] and int_attribute(node, "keepdims", 1):
            replace_node(node, "GlobalAveragePool", [source], {})
            changed += 1
    return changed
