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
from hexaquant.ir.rule import Declined, Rule

Affine = tuple[oir.Value, np.ndarray, np.ndarray]
"""Input, factor and offset, as they are multiplied and added."""


def _check(node: oir.Node) -> Affine | Declined | None:
    source = node.inputs[0] if node.inputs else None
    affine = affine_of(node)
    if source is None:
        return None
    if affine is None:
        return Declined("its parameters are not constant, or it is in training mode")
    if source.shape is None or source.dtype is None:
        return Declined("rank and type of its input are not known")
    shape = (-1, *[1] * (len(source.shape) - 2))
    scale, shift = (a.reshape(shape).astype(source.dtype.numpy()) for a in affine)
    return source, scale, shift


def _replace(graph: Graph, node: oir.Node, found: Affine) -> None:
    source, scale, shift = found
    factor = _constant(graph, node.inputs[1], scale)
    offset = _constant(graph, node.inputs[2], shift)
    scaled = insert_before(node, "Mul", [source, factor], {}, f"{node.outputs[0].name}_scaled")
    scaled.shape = node.outputs[0].shape or source.shape
    scaled.type = source.type
    replace_node(node, "Add", [scaled, offset], {})


def _constant(graph: Graph, parameter: oir.Value | None, data: np.ndarray) -> oir.Value:
    name = parameter.name if parameter is not None else "batchnorm"
    value = add_constant(graph.model.graph, f"{name}.folded", data)
    value.metadata_props[DERIVED_FROM] = f"{name} BatchNormalization"
    return value


decompose_batchnorm = Rule("decompose_batchnorm", ("BatchNormalization",), _check, _replace)
