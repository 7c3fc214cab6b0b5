"""Shapes that the network computes while it runs: Reshape, Expand, Slice ... with a computed parameter.

The target's graphs are static: a shape must be a constant when the network is lowered. Shape arithmetic over known
dimensions is folded at import; over a symbolic batch it is when the batch is frozen. What depends on data never is.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as oir

from hexaquant.analysis.lint.finding import BY_IMPORT, Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.normalize import freeze_batch

RULE = "dynamic-reshape"
PARAMETERS = {"Reshape": (1,), "Expand": (1,), "Tile": (1,), "Slice": (1, 2, 3, 4), "Pad": (1,), "Resize": (2, 3)}
"""Operators and those of their inputs that must be constants on the target."""
WHY = "the target's graphs are static, a shape has to be a constant"


def dynamic_reshape(subject: Subject) -> Iterator[Finding]:
    """Info where import or the frozen batch makes it a constant, error where it stays computed."""
    computed = [node for node in subject.written.nodes if _is_computed(node)]
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


def _is_computed(node: oir.Node) -> bool:
    places = PARAMETERS.get(node.op_type, ()) if node.domain == "" else ()
    values = [node.inputs[i] for i in places if i < len(node.inputs)]
    return any(v is not None and v.name and not _from_constants(v) for v in values)


def _from_constants(value: oir.Value) -> bool:
    """Whether ``value`` is a constant, or computed from constants alone."""
    node = value.producer()
    if node is None:
        return constant(value) is not None
    return all(v is None or _from_constants(v) for v in node.inputs)


def _computed_names(graph: Graph) -> set[str | None]:
    return {node.name for node in graph.nodes if _is_computed(node)}


def _frozen(graph: Graph) -> Graph:
    """With a batch of 1; as it is where other dimensions are free (dynamic_shape.py speaks of them)."""
    try:
        return freeze_batch(graph)
    except InputError:
        return graph
