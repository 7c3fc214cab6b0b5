"""Shapes that the network computes while it runs: Reshape, Expand, Slice ... with a computed parameter.

The target's graphs are static: a shape must be a constant when the network is lowered. Shape arithmetic over known
dimensions is folded at import; over a symbolic batch it is when the batch is frozen. What depends on data never is.
"""

from __future__ import annotations

from collections.abc import Iterator

from hexaquant.analysis.lint.finding import BY_IMPORT, Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import freeze_batch
from hexaquant.ir.shapes import has_computed_shape

RULE = "dynamic-reshape"
WHY = "the target's graphs are static, a shape has to be a constant"


def dynamic_reshape(subject: Subject) -> Iterator[Finding]:
    """Info where import or the frozen batch makes it a constant, error where it stays computed."""
    computed = [node for node in subject.written.nodes if has_computed_shape(node)]
    if not computed:
        return
    left, frozen = _computed_names(subject.imported), _computed_names(_frozen(subject.imported))
    for node in computed:
        text = f"{node.op_type} with a computed {'shape' if node.op_type in ('Reshape', 'Expand') else 'parameter'}"
        if node.name not in left:
            yield about(subject.written, node, RULE, "info", text, WHY, f"{BY_IMPORT}: it is a constant", fixable=True)
        elif node.name not in frozen:
            fix = "hexaquant folds it when compile freezes the batch; or give --shape"
            yield about(subject.written, node, RULE, "info", text, WHY, fix)
        else:
            fix = "give all dimensions with --shape, or compute the shape outside of the network"
            yield about(subject.written, node, RULE, "error", text, WHY, fix)


def _computed_names(graph: Graph) -> set[str | None]:
    return {node.name for node in graph.nodes if has_computed_shape(node)}


def _frozen(graph: Graph) -> Graph:
    """With a batch of 1; as it is where other dimensions are free (dynamic_shape.py speaks of them)."""
    try:
        return freeze_batch(graph)
    except InputError:
        return graph
