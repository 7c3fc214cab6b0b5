"""Inputs and shapes of a graph: override shapes, turn inputs into constants; find shapes that it computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph, constant

PARAMETERS = {"Reshape": (1,), "Expand": (1,), "Tile": (1,), "Slice": (1, 2, 3, 4), "Pad": (1,), "Resize": (2, 3)}
"""Operators and those of their inputs that must be constants on the target."""
ARITHMETIC = frozenset({"Shape", "Size", "Range", "ConstantOfShape", "EyeLike"})
"""Operators that make numbers out of shapes; those over known dimensions are folded."""

READING = frozenset({"Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Reshape", "Cast", "Identity"})
"""Operators that pick dimensions out of a shape and put them together, and compute nothing."""


def computed_shapes(graph: Graph) -> list[oir.Node]:
    """The nodes of ``graph`` that make numbers out of shapes, or whose shape depends on something computed."""
    return [n for n in graph.nodes if n.domain == "" and (n.op_type in ARITHMETIC or has_computed_shape(n))]


def batch_arithmetic(graph: Graph) -> list[oir.Node]:
    """Those of :func:`computed_shapes` that need a batch of 1 to fold: all but an Expand to a shape that is read off
    the batch (the class token of a vision transformer), which simulation and training run with any batch."""
    found = computed_shapes(graph)
    expands = {node for node in found if node.op_type == "Expand" and _is_read_off(node.inputs[1])}
    return [node for node in found if node.op_type != "Shape" and node not in expands]


def _is_read_off(value: oir.Value | None) -> bool:
    """Whether a shape consists of dimensions that are only picked and put together."""
    node = None if value is None else value.producer()
    if node is None:
        return constant(value) is not None
    if node.op_type == "Shape":
        return True
    return node.op_type in READING and all(_is_read_off(v) for v in node.inputs)


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


def fix_inputs(graph: Graph, fixed: Mapping[str, Any]) -> Graph:
    """``graph`` with the inputs in ``fixed`` as constants (a new Graph, not normalized).

    Values: numbers or arrays; one number fills the input's shape, whose free dimensions count as 1. Raises InputError
    for a name that is no input and for a value that does not fit the input's type or shape.
    """
    result = graph.clone()
    inner = result.model.graph
    inputs = {v.name or "": v for v in result.inputs}
    for name, given in fixed.items():
        if name not in inputs:
            raise InputError(f"{graph.source} has no input '{name}'; its inputs are {', '.join(sorted(inputs))}")
        if len(inner.inputs) == 1:
            raise InputError(f"{graph.source}: '{name}' is its only input left; a network needs one that changes")
        value = inputs[name]
        array = _fitting(graph, value, given)
        inner.inputs.remove(value)
        value.const_value = oir.tensor(array, name=name)
        value.shape = oir.Shape(array.shape)
        inner.register_initializer(value)
    return result


def _fitting(graph: Graph, value: oir.Value, given: Any) -> np.ndarray:
    array = np.asarray(given)
    wanted = value.dtype.numpy() if value.dtype is not None else array.dtype
    cast = array.astype(wanted)
    if array.dtype.kind not in "biuf" or not bool(np.all(cast == array)):
        raise InputError(f"{graph.source}: {given} does not fit input '{value.name}' of type {value.dtype}")
    if value.shape is None:
        return cast
    dims = [d if isinstance(d, int) else 1 for d in value.shape]
    if cast.size == 1:
        return np.full(dims, cast.reshape(-1)[0], cast.dtype)
    known = [isinstance(d, int) for d in value.shape]
    if cast.ndim != len(dims) or any(k and d != s for k, d, s in zip(known, dims, cast.shape)):
        raise InputError(f"{graph.source}: input '{value.name}' is {list(value.shape)}, not {list(cast.shape)}")
    return cast
