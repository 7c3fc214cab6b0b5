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


def fuse_layernorm(graph: Graph) -> int:
    """Returns the number of LayerNormalization nodes formed."""
    changed = 0
    for node in graph.nodes:
        if node.graph is None or node.op_type != "Div" or node.domain != "":
            continue
        found = _normalisation(node)
        if found is not None:
            _fuse(graph, node, *found)
            changed += 1
    return changed


def _normalisation(divide: oir.Node) -> tuple[oir.Value, float, int] | None:
    """x, epsilon and D when ``divide`` is the normalisation."""
    root = producer(divide.inputs[1], "Sqrt")
    add = producer(root.inputs[0], "Add") if root is not None else None
    if add is None:
        return None
    for index in (0, 1):
        epsilon, square = scalar(add.inputs[index]), mean_over_last(add.inputs[1 - index])
        centred = squared(square)
        x = _centred_input(divide.inputs[0])
        if epsilon is None or x is None or centred is None or _centred_input(centred) is not x:
            continue
        size = x.shape[-1] if x.shape is not None else None
        return (x, epsilon, size) if isinstance(size, int) else None
    return None


def _centred_input(value: oir.Value | None) -> oir.Value | None:
    """x of ``x - mean(x)``."""
    subtract = producer(value, "Sub")
    if subtract is None or mean_over_last(subtract.inputs[1]) is not subtract.inputs[0]:
        return None
    return subtract.inputs[0]


def _fuse(graph: Graph, divide: oir.Node, x: oir.Value, epsilon: float, size: int) -> None:
    root, gamma = following_vector(divide, "Mul", size)
    beta = None
    if gamma is not None:
        root, beta = following_vector(root, "Add", size)
    if gamma is None:
        dtype = x.dtype.numpy() if x.dtype is not None else np.dtype(np.float32)
        gamma = add_constant(graph.model.graph, f"{root.outputs[0].name}_ones", np.ones(size, dtype))
    inputs = [x, gamma] if beta is None else [x, gamma, beta]
    replace_node(root, "LayerNormalization", inputs, {"axis": -1, "epsilon": epsilon})
