"""BatchNormalization that follows no layer it could be folded into -> Mul, Add with one constant per channel.

Run after fold_batchnorm has nothing left to do.

1. Its parameters are constants and it is in inference mode.
2. Rank and type of its input are known.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, insert_before, replace_node
from hexaquant.ir.graph import Graph
from hexaquant.ir.passes.fold_batchnorm import affine_of
from hexaquant.ir.passes.fold_constants import DERIVED_FROM


def decompose_batchnorm(graph: Graph) -> int:
    """Returns the number of BatchNormalization nodes replaced."""
    changed = 0
    for node in graph.nodes:
        source = node.inputs[0] if node.inputs else None
        if node.op_type != "BatchNormalization" or node.domain != "" or source is None:
            continue
        affine = affine_of(node)
        if affine is None or source.shape is None or source.dtype is None:
            continue
        shape = (-1, *[1] * (len(source.shape) - 2))
        scale, shift = (a.reshape(shape).astype(source.dtype.numpy()) for a in affine)
        _replace(graph, node, source, scale, shift)
        changed += 1
    return changed


def _replace(graph: Graph, node: oir.Node, source: oir.Value, scale: np.ndarray, shift: np.ndarray) -> None:
    factor = _constant(graph, node.inputs[1], scale)
    offset = _constant(graph, node.inputs[2], shift)
    scaled = insert_before(node, "Mul", [source, factor], {}, f"{node.outputs[0].name}_scaled")
    scaled.shape, scaled.type = node.outputs[0].shape or source.shape, source.type
    replace_node(node, "Add", [scaled, offset], {})


def _constant(graph: Graph, parameter: oir.Value | None, data: np.ndarray) -> oir.Value:
    name = parameter.name if parameter is not None else "batchnorm"
    value = add_constant(graph.model.graph, f"{name}.folded", data)
    value.metadata_props[DERIVED_FROM] = f"{name} BatchNormalization"
    return value
