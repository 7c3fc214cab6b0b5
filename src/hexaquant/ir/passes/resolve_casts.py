"""CastLike -> Cast.

1. The type of the second input is known. (The value of that input then no longer matters, which lets constants fold.)
"""

from __future__ import annotations

from hexaquant.ir.edit import replace_node
from hexaquant.ir.graph import Graph


def resolve_casts(graph: Graph) -> int:
    """Returns the number of CastLike nodes replaced."""
    changed = 0
    for node in graph.nodes:
        like = node.inputs[1] if node.op_type == "CastLike" and node.domain == "" else None
        if like is None or like.dtype is None:
            continue
        replace_node(node, "Cast", [node.inputs[0]], {"to": int(like.dtype)})
        changed += 1
    return changed
