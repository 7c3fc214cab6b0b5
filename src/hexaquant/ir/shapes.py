"""Override the shapes of graph inputs and forget what was inferred from the old ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph


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
