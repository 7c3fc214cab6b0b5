"""Remove what no graph output depends on.

1. Nodes none of whose outputs is read or is a graph output.
2. Initializers that no node reads (graph inputs stay, they are the user's interface).
3. Optional trailing outputs that nothing reads lose their names.
"""

from __future__ import annotations

from hexaquant.ir.graph import Graph


def remove_unused(graph: Graph) -> int:
    """Returns the number of nodes and initializers removed."""
    inner = graph.model.graph
    changed = 0
    for node in reversed(graph.nodes):
        if any(v.is_graph_output() or list(v.uses()) for v in node.outputs):
            continue
        inner.remove(node, safe=True)
        changed += 1
    for name, value in list(inner.initializers.items()):
        if not list(value.uses()) and not value.is_graph_output():
            del inner.initializers[name]
            changed += 1
    return changed
