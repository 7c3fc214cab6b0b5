"""Give every node and value a nonempty, unique, stable name.

1. Names of graph inputs and initializers never change (they are the user's).
2. Node outputs keep their names, unless an input, an initializer (a buffer called ``mean`` beside a ReduceMean) or an
   earlier output has it: then it becomes ``<name>_1``, ... An empty one becomes ``<op>_<position>`` made unique.
3. A node without a name, or with a name another node has, is named after its first output.
"""

from __future__ import annotations

from hexaquant.ir.edit import taken_names, unique_name
from hexaquant.ir.graph import Graph


def name_everything(graph: Graph) -> int:
    """Returns the number of names given."""
    inner = graph.model.graph
    taken = taken_names(inner)
    seen = {value.name for value in (*inner.inputs, *inner.initializers.values())}
    used: set[str] = set()
    changed = 0
    for position, node in enumerate(inner):
        for value in node.outputs:
            if not value.name and (value is node.outputs[0] or list(value.uses())):
                value.name = unique_name(f"{node.op_type.lower()}_{position}", taken)
                taken.add(value.name)
                changed += 1
            elif value.name and value.name in seen:
                value.name = unique_name(value.name, taken)
                taken.add(value.name)
                changed += 1
            seen.add(value.name)
        if not node.name or node.name in used:
            node.name = unique_name(node.outputs[0].name or node.op_type, used)
            changed += 1
        used.add(node.name)
    return changed
