"""Fold what other frameworks write after a convolution, ``conv(x) * s + c`` a channel, into its weight and bias.

1. s or c is a constant of shape (1, C, 1, ...) (leading ones may be absent), which only this node reads, or one number.
2. The convolution (Conv, ConvTranspose) is read by this node alone; its weight (for s) and its bias, if it has one, are
   constants that nothing else reads.
3. A constant that becomes the bias keeps its name; weights keep theirs. Computed in float64.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import bypass, int_attribute, private_constant, set_constant, sole_consumer
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.fold_constants import DERIVED_FROM

LAYERS = ("Conv", "ConvTranspose")


def fold_affine(graph: Graph) -> int:
    """Returns the number of Add and Mul nodes folded."""
    changed = 0
    for node in graph.nodes:
        if node.graph is None or node.domain != "" or node.op_type not in ("Add", "Mul") or len(node.inputs) != 2:
            continue
        for index in (0, 1):
            if _fold(graph, node, node.inputs[index], node.inputs[1 - index]):
                changed += 1
                break
    return changed


def _fold(graph: Graph, node: oir.Node, source: oir.Value | None, operand: oir.Value | None) -> bool:
    layer = source.producer() if source is not None else None
    if source is None or operand is None or layer is None or layer.op_type not in LAYERS or layer.domain != "":
        return False
    weight = constant(layer.inputs[1])
    if sole_consumer(source) is not node or weight is None or private_constant(operand) is None:
        return False
    channels = weight.shape[0] if layer.op_type == "Conv" else weight.shape[1] * int_attribute(layer, "group", 1)
    vector = _by_channel(private_constant(operand), channels, weight.ndim)
    if vector is None:
        return False
    done = _add(layer, operand, vector) if node.op_type == "Add" else _multiply(layer, operand, vector)
    return done and bypass(graph, node, source)


def _by_channel(array: np.ndarray | None, channels: int, rank: int) -> np.ndarray | None:
    """``array``, which broadcasts against (N, C, ...) along C alone, as (C,) float64."""
    if array is None or array.dtype.kind != "f" or array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if array.size != 1 and shape != (1, channels, *[1] * (rank - 2)):
        return None
    return np.broadcast_to(np.asarray(array, np.float64).reshape(-1), (channels,))


def _bias(layer: oir.Node) -> oir.Value | None:
    return layer.inputs[2] if len(layer.inputs) > 2 else None


def _add(layer: oir.Node, operand: oir.Value, vector: np.ndarray) -> bool:
    bias, dtype = _bias(layer), constant(operand).dtype  # type: ignore[union-attr]
    zeros = constant(bias)
    if bias is None or (zeros is not None and not zeros.any()):
        set_constant(operand, vector.astype(dtype))
        layer.resize_inputs(3)
        layer.replace_input_with(2, operand)
        return True
    data = private_constant(bias)
    if data is None:
        return False
    set_constant(bias, (data.astype(np.float64) + vector).astype(dtype))
    return True


def _multiply(layer: oir.Node, operand: oir.Value, vector: np.ndarray) -> bool:
    weight = layer.inputs[1]
    bias = _bias(layer)
    data = private_constant(weight)
    shift = private_constant(bias)
    if weight is None or data is None or (bias is not None and shift is None):
        return False
    set_constant(weight, _scaled(layer, data, vector).astype(data.dtype))
    weight.metadata_props[DERIVED_FROM] = f"{weight.metadata_props.get(DERIVED_FROM) or weight.name} Mul"
    if bias is not None and shift is not None:
        set_constant(bias, (shift * vector).astype(shift.dtype))
    return True


def _scaled(layer: oir.Node, weight: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """``weight`` with each output channel times its factor."""
    ones = [1] * (weight.ndim - 2)
    if layer.op_type == "Conv":
        return np.asarray(weight * vector.reshape(-1, 1, *ones))
    groups = int_attribute(layer, "group", 1)
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    return np.asarray(split * vector.reshape(groups, 1, weight.shape[1], *ones)).reshape(weight.shape)
