"""Refuses, before any library is loaded, what would crash it or pass it silently."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as oir

from hexaquant.core.errors import InputError


def check_lowerable(model: oir.Model, source: str) -> None:
    """Conditions, each with the tensor in its message:

    1. every dimension of inputs and outputs is a positive integer (a zero kills the library, SIGFPE);
    2. no tensor with a known shape has a zero dimension;
    3. every scale is finite and positive (zero passes silently and gives wrong numbers).

    Raises InputError. What the target refuses or computes wrongly is told by htp/faults.py.
    """
    for value in [*model.graph.inputs, *model.graph.outputs]:
        _check_static(value, source)
    for value in _values(model):
        _check_shape(value, source)
    for node in model.graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            _check_scale(node, source)


def _values(model: oir.Model) -> Iterator[oir.Value]:
    yield from model.graph.inputs
    yield from model.graph.initializers.values()
    for node in model.graph:
        yield from node.outputs


def _check_static(value: oir.Value, source: str) -> None:
    if value.shape is None:
        raise InputError(f"{source}: '{value.name}' has no shape: the target needs fixed shapes, give them at export")
    for dim in value.shape:
        if not isinstance(dim, int):
            raise InputError(
                f"{source}: dimension '{dim}' of '{value.name}' is dynamic: the target needs fixed shapes, freeze it"
            )


def _check_shape(value: oir.Value, source: str) -> None:
    if value.shape is None:
        return
    shape = tuple(d if isinstance(d, int) else None for d in value.shape)
    if 0 in shape and value.uses():
        raise InputError(f"{source}: '{value.name}' has a zero-size dimension {list(shape)}: remove that tensor")


def _check_scale(node: oir.Node, source: str) -> None:
    scale = node.inputs[1] if len(node.inputs) > 1 else None
    if scale is None or scale.const_value is None:
        return
    numbers = scale.const_value.numpy().astype(np.float64)
    if not np.isfinite(numbers).all() or (numbers <= 0).any():
        raise InputError(
            f"{source}: node '{node.name}' has a scale that is zero, negative, infinite or NaN: calibrate it again"
        )
