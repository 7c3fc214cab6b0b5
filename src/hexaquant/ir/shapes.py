"""Shapes of a graph: override those of its inputs; find those that it computes while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph, constant

PARAMETERS = {"Reshape": (1,), "Expand": (1,), "Tile": (1,), "Slice": (1, 2, 3, 4), "Pad": (1,), "Resize": (2, 3)}
"""Operators and those of their inputs that must be constants on the target."""
ARITHMETIC = frozenset({"Shape", "Size", "Range", "ConstantOfShape", "EyeLike"})
"""Operators that make numbers out of shapes; those over known dimensions are folded."""


def computed_shapes(graph: Graph) -> list[oir.Node]:
    """The nodes of ``graph`` that make numbers out of shapes, or whose shape depends on something computed."""
    return [n for n in graph.nodes if n.domain == "" and (n.op_type in ARITHMETIC or has_computed_shape(n))]


def has_computed_shape(node: oir.Node) -> bool:
    """Whether a parameter of ``node`` that must be a constant on the target is computed from more than constants."""
    places = PARAMETERS.get(node.op_type, ()) if node.domain == "" else ()
    values = [node.inputs[i] for i in places if i < len(node.inputs)]
    return any(v is not None and v.name and not _from_constants(v) for v in values)


def _from_constants(value: oir.Value) -> bool:
    """Whether ``value`` is a constant, or computed from constants alone."""
    node = value.producer()
    if node is None:
        return constant(value) is not None
    return all(v is None or _from_constants(v) for v in node.inputs)


def apply_shapes(graph: Graph, shapes: Mapping[str, Sequence[int | str]]) -> None:
    """Set input shapes in place (ints or symbol names). Raises InputError naming the inputs that exist."""
    inputs = {v.name or "": v for v in graph.inputs}
    for name, dims in shapes.items():
        if name not in inputs:
            raise InputError(f"{graph.source} has no input '{name}'; its inputs are {', '.join(sorted(inputs))}")
        _check_dims(graph, inputs[name], dims)
    changed = False
    for name, dims in shapes.items():
        new = oir.Shape(list(dims))
        changed |= inputs[name].shape != new
        inputs[name].shape = new
    if changed:
        for node in graph.model.graph:
            for value in node.outputs:
                value.shape = None


def _check_dims(graph: Graph, value: oir.Value, dims: Sequence[int | str]) -> None:
    for dim in dims:
        if isinstance(dim, int) and dim <= 0:
            raise InputError(f"{graph.source}: shape {list(dims)} for input '{value.name}' has a size below 1")
    if value.shape is None:
        return
    if len(value.shape) != len(dims):
        raise InputError(
            f"{graph.source}: input '{value.name}' has {len(value.shape)} dimensions {list(value.shape)} "
            f"but {len(dims)} were given"
        )
