"""Replace an If by the branch that its constant condition takes.

1. The condition is a constant (possibly only after folding).
2. Names inside the branch that are taken outside get a number.
"""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.ir.edit import taken_names, unique_name
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.name_everything import name_everything


def inline_if(graph: Graph) -> int:
    """Returns the number of If nodes replaced."""
    changed = 0
    for node in graph.nodes:
        condition = constant(node.inputs[0]) if node.op_type == "If" and node.domain == "" else None
        if condition is None:
            continue
        branch = node.attributes["then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"].as_graph()
        _move(graph.model.graph, node, branch)
        changed += 1
    if changed:
        name_everything(graph)
    return changed


def _move(outer: oir.Graph, node: oir.Node, branch: oir.Graph) -> None:
    taken = taken_names(outer)
    for name, value in list(branch.initializers.items()):
        del branch.initializers[name]
        value.name = unique_name(name, taken)
        taken.add(value.name)
        outer.register_initializer(value)
    results = list(branch.outputs)
    branch.outputs.clear()
    inner = list(branch)
    branch.remove(inner)
    for child in inner:
        child.metadata_props.update(node.metadata_props)
        for value in child.outputs:
            if value.name:
                value.name = unique_name(value.name, taken)
                taken.add(value.name)
    outer.insert_before(node, inner)
    for old, new in zip(node.outputs, results):
        _hand_over(outer, node, old, new)
    outer.remove(node, safe=True)


def _hand_over(outer: oir.Graph, node: oir.Node, old: oir.Value, new: oir.Value) -> None:
    if old.is_graph_output():
        name, old.name = old.name, None
        identity = oir.node("Identity", [new])
        identity.outputs[0].name = name
        identity.outputs[0].shape, identity.outputs[0].type = new.shape or old.shape, new.type or old.type
        outer.insert_before(node, identity)
        new = identity.outputs[0]
    old.replace_all_uses_with(new, replace_graph_outputs=True)
