"""ReduceMean over all spatial dimensions, kept -> GlobalAveragePool.

1. The input has rank 4 (N, C, H, W); the axes are constant and exactly the last two; keepdims is 1.
"""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.ir.edit import int_attribute, replace_node
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.rule import Rule


def _check(node: oir.Node) -> oir.Value | None:
    """The input of a mean over both spatial axes."""
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    source = node.inputs[0]
    if axes is None or source is None or source.shape is None or len(source.shape) != 4:
        return None
    is_spatial = sorted(int(a) % 4 for a in axes.reshape(-1)) == [2, 3] and int_attribute(node, "keepdims", 1)
    return source if is_spatial else None


def _form(graph: Graph, node: oir.Node, source: oir.Value) -> None:
    replace_node(node, "GlobalAveragePool", [source], {})


form_global_pool = Rule("form_global_pool", ("ReduceMean",), _check, _form)
