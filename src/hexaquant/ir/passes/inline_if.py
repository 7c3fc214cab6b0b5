"""Replace an If by the branch that its condition takes, or by both and a Where of their results.

1. The condition is a constant (possibly only after folding): the other branch is dropped.
2. Else both branches compute without side effects (no loops, nothing random) results of the same shapes and types:
   they are computed both, and ``where_if`` chooses. That is decided last, when nothing folds any more.
3. Names inside a branch that are taken outside get a number.
"""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.ir.edit import insert_before, taken_names, unique_name
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.infer_shapes import infer_node
from hexaquant.ir.passes.name_everything import name_everything
from hexaquant.ir.symbolic import Contents

IMPURE = frozenset({"Loop", "Scan", "If", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"})


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


def where_if(graph: Graph) -> int:
    """Condition 2. Returns the number of If nodes replaced."""
    changed = 0
    for node in graph.nodes:
        if node.op_type != "If" or node.domain != "" or node.inputs[0] is None:
            continue
        branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
        if any(child.op_type in IMPURE for branch in branches for child in branch):
            continue
        if not _same_results(branches[0], branches[1]):
            continue
        chosen, other = (_bring_out(graph.model.graph, node, branch) for branch in branches)
        for old, left, right in zip(node.outputs, chosen, other):
            name = old.name or "if"
            picked = insert_before(node, "Where", [node.inputs[0], left, right], {}, f"{name}_chosen")
            picked.type = left.type
            picked.shape = left.shape
            _hand_over(graph.model.graph, node, old, picked)
        graph.model.graph.remove(node, safe=True)
        name_everything(graph)
        changed += 1
    return changed


def _same_results(left: oir.Graph, right: oir.Graph) -> bool:
    """Whether two branches give the same types and shapes, as far as inference can tell. Fills both in."""
    for branch in (left, right):
        contents = Contents()
        for node in branch:
            infer_node(node, contents)
            contents.evaluate(node)
    pairs = list(zip(left.outputs, right.outputs, strict=True))
    return all(a.shape is not None and a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)


def _move(outer: oir.Graph, node: oir.Node, branch: oir.Graph) -> None:
    for old, new in zip(node.outputs, _bring_out(outer, node, branch)):
        _hand_over(outer, node, old, new)
    outer.remove(node, safe=True)


def _bring_out(outer: oir.Graph, node: oir.Node, branch: oir.Graph) -> list[oir.Value]:
    """Put the operators of ``branch`` before ``node``; what the branch returned."""
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
    return results


def _hand_over(outer: oir.Graph, node: oir.Node, old: oir.Value, new: oir.Value) -> None:
    if old.is_graph_output():
        name = old.name
        old.name = None
        identity = oir.node("Identity", [new])
        identity.outputs[0].name = name
        identity.outputs[0].shape = new.shape or old.shape
        identity.outputs[0].type = new.type or old.type
        outer.insert_before(node, identity)
        new = identity.outputs[0]
    old.replace_all_uses_with(new, replace_graph_outputs=True)
