"""Operators that no output needs, inputs that nothing reads, outputs that depend on no input.

Import removes dead operators, so they cost nothing; but they show that the exported graph is not the one that was meant
(a loss, a training head). A constant output is a mistake most of the time.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as oir

from hexaquant.analysis.lint.finding import BY_IMPORT, Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.ir.graph import Graph, Origin

RULE = "dead-branch"


def dead_branch(subject: Subject) -> Iterator[Finding]:
    """One info a branch, at its last operator; warnings for unused inputs and constant outputs."""
    graph = subject.written
    alive = _ancestors(list(graph.outputs))
    for node in graph.nodes:
        if node in alive or any(list(v.uses()) for v in node.outputs):
            continue
        branch = _ancestors([v for v in node.inputs if v is not None]) - alive
        text = f"no output needs it ({len(branch) + 1} operators in this branch)"
        why = "dead operators cost nothing on the target, but the graph may not be the one you meant"
        yield about(graph, node, RULE, "info", text, why, f"{BY_IMPORT}: they are removed", fixable=True)
    yield from _idle(graph)


def _idle(graph: Graph) -> Iterator[Finding]:
    for value in graph.inputs:
        if not list(value.uses()) and not value.is_graph_output():
            layer, why = Origin(node=f"input {value.name}"), "it must be fed all the same"
            yield Finding(RULE, "warning", layer, "input", "nothing reads it", why, "remove it", value.name or "")
    for value in graph.outputs:
        node = value.producer()
        if node is None or _reads_input(value):
            continue
        why = "it is the same for every sample; the target has nothing to compute"
        yield about(graph, node, RULE, "warning", "the output depends on no input", why, "return it from your own code")


def _reads_input(output: oir.Value) -> bool:
    nodes = _ancestors([output])
    random = any(node.op_type.startswith("Random") for node in nodes)
    return random or any(v is not None and v.is_graph_input() for node in nodes for v in node.inputs)


def _ancestors(values: list[oir.Value]) -> set[oir.Node]:
    """All nodes that ``values`` are computed from."""
    found: set[oir.Node] = set()
    todo = [v.producer() for v in values]
    while todo:
        node = todo.pop()
        if node is None or node in found:
            continue
        found.add(node)
        todo += [v.producer() for v in node.inputs if v is not None]
    return found
