"""(x - mean) / sqrt(mean((x - mean)^2) + eps) [* gamma] [+ beta] -> LayerNormalization over the last dimension.

1. Both means reduce the last dimension only and keep it; the rank of x is known where the axis is positive.
2. The square is Mul(d, d) or Pow(d, 2) with d = x - mean; eps is a one-element constant.
3. gamma and beta are taken in when they are constants of shape [D] (D the last dimension) and the values between are
   read nowhere else; without gamma a constant of ones serves.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, producer, replace_node
from hexaquant.ir.graph import Graph
from hexaquant.ir.passes.match import following_vector, mean_over_last, scalar, squared
from hexaquant.ir.rule import Declined, Rule

Norm = tuple[oir.Value, float, int]
"""x, epsilon and the size of the last axis."""


def _check(divide: oir.Node) -> Norm | Declined | None:
    root = producer(divide.inputs[1], "Sqrt")
    if root is None or producer(divide.inputs[0], "Sub") is None:
        return None
    x = _centred_input(divide.inputs[0])
    add = producer(root.inputs[0], "Add")
    if x is None:
        return Declined("what is subtracted is not the mean over the last axis, kept")
    if add is None:
        return Declined("no epsilon is added under the square root")
    for index in (0, 1):
        epsilon = scalar(add.inputs[index])
        square = mean_over_last(add.inputs[1 - index])
        centred = squared(square)
        if epsilon is None or centred is None or _centred_input(centred) is not x:
            continue
        size = x.shape[-1] if x.shape is not None else None
        return (x, epsilon, size) if isinstance(size, int) else Declined("the size of the last axis is not known")
    return Declined("under the square root is no mean over the last axis of (x - mean)^2, plus a single number")


def _centred_input(value: oir.Value | None) -> oir.Value | None:
    """x of ``x - mean(x)``."""
    subtract = producer(value, "Sub")
    if subtract is None or mean_over_last(subtract.inputs[1]) is not subtract.inputs[0]:
        return None
    return subtract.inputs[0]


def _fuse(graph: Graph, divide: oir.Node, found: Norm) -> None:
    x, epsilon, size = found
    root, gamma = following_vector(divide, "Mul", size)
    beta = None
    if gamma is not None:
        root, beta = following_vector(root, "Add", size)
    if gamma is None:
        dtype = x.dtype.numpy() if x.dtype is not None else np.dtype(np.float32)
        gamma = add_constant(graph.model.graph, f"{root.outputs[0].name}_ones", np.ones(size, dtype))
    inputs = [x, gamma] if beta is None else [x, gamma, beta]
    replace_node(root, "LayerNormalization", inputs, {"axis": -1, "epsilon": epsilon})


fuse_layernorm = Rule("fuse_layernorm", ("Div",), _check, _fuse)
