"""Rules about shapes that are not known before the network runs."""

from __future__ import annotations

from collections.abc import Iterator

from hexaquant.analysis.lint.finding import BY_IMPORT, Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph, Origin, shape_of
from hexaquant.ir.normalize import freeze_batch
from hexaquant.ir.shapes import has_computed_shape

# Inputs with free dimensions beside the batch.
#
# The target needs every dimension when a network is compiled; the batch is frozen to 1 (``compile --batch``), others
# must be given.

DYNAMIC_SHAPE = "dynamic-shape"
WHY_DYNAMIC_SHAPE = "the target compiles for fixed sizes only"


def dynamic_shape(subject: Subject) -> Iterator[Finding]:
    """One error an input."""
    shapes = {value.name or "": shape_of(value) for value in subject.imported.inputs}
    batch = {shape[0] for shape in shapes.values() if shape}
    for name, shape in shapes.items():
        free = [(i, d) for i, d in enumerate(shape or ()) if i and not isinstance(d, int) and d not in batch]
        if shape is not None and not free:
            continue
        text = ", ".join(f"dimension {i} ('{d}')" for i, d in free) + " is free" if free else "its rank is not known"
        dims = ",".join(
            str(d) if isinstance(d, int) else "1" if i == 0 else "..." for i, d in enumerate(shape or ("",))
        )
        fix = f"give the sizes: --shape {name}={dims}"
        yield Finding(DYNAMIC_SHAPE, "error", Origin(node=f"input {name}"), "input", text, WHY_DYNAMIC_SHAPE, fix, name)


# Shapes that the network computes while it runs: Reshape, Expand, Slice ... with a computed parameter.
#
# The target's graphs are static: a shape must be a constant when the network is lowered. Shape arithmetic over known
# dimensions is folded at import; over a symbolic batch it is when the batch is frozen. What depends on data never is.

DYNAMIC_RESHAPE = "dynamic-reshape"
WHY_DYNAMIC_RESHAPE = "the target's graphs are static, a shape has to be a constant"


def dynamic_reshape(subject: Subject) -> Iterator[Finding]:
    """Info where import or the frozen batch makes it a constant, error where it stays computed."""
    computed = [node for node in subject.written.nodes if has_computed_shape(node)]
    if not computed:
        return
    left = _computed_names(subject.imported)
    frozen = _computed_names(_frozen(subject.imported))
    for node in computed:
        text = f"{node.op_type} with a computed {'shape' if node.op_type in ('Reshape', 'Expand') else 'parameter'}"
        if node.name not in left:
            yield about(
                subject.written,
                node,
                DYNAMIC_RESHAPE,
                "info",
                text,
                WHY_DYNAMIC_RESHAPE,
                f"{BY_IMPORT}: it is a constant",
                fixable=True,
            )
        elif node.name not in frozen:
            fix = "hexaquant folds it when compile freezes the batch; or give --shape"
            yield about(subject.written, node, DYNAMIC_RESHAPE, "info", text, WHY_DYNAMIC_RESHAPE, fix)
        else:
            fix = "give all dimensions with --shape, or compute the shape outside of the network"
            yield about(subject.written, node, DYNAMIC_RESHAPE, "error", text, WHY_DYNAMIC_RESHAPE, fix)


def _computed_names(graph: Graph) -> set[str | None]:
    return {node.name for node in graph.nodes if has_computed_shape(node)}


def _frozen(graph: Graph) -> Graph:
    """With a batch of 1; as it is where other dimensions are free (dynamic_shape.py speaks of them)."""
    try:
        return freeze_batch(graph)
    except InputError:
        return graph
