"""Float pads with the edge's values become Gathers.

Release 2.7.0 pads a float tensor with zeros whatever the mode is told: "edge" came out 6 to 9 dB against onnxruntime's
CPU, without a word; in integer types it is right. Indices that repeat the first and the last position say the same.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, insert_before, replace_node, string_attribute
from hexaquant.ir.graph import constant


def gather_edges(model: oir.Model) -> int:
    """Replace, in place, every Pad for which all of these hold; returns how many.

    1. its mode is edge, its pads are constant and not negative, given for all axes;
    2. its input has a known shape and no encoding.
    """
    changed = 0
    for node in list(model.graph):
        pads = _pads(node) if node.op_type == "Pad" else []
        if any(before or after for before, after in pads):
            _replace(model.graph, node, pads)
            changed += 1
    return changed


def _pads(node: oir.Node) -> list[tuple[int, int]]:
    """(before, after) by axis; empty where a condition does not hold."""
    source, data = node.inputs[0], constant(node.inputs[1])
    if source is None or source.shape is None or data is None or string_attribute(node, "mode", "constant") != "edge":
        return []
    step = source.producer()
    is_quantized = step is not None and step.op_type == "DequantizeLinear"
    has_axes = len(node.inputs) > 3 and node.inputs[3] is not None
    if is_quantized or has_axes or (data < 0).any() or not all(isinstance(dim, int) for dim in source.shape):
        return []
    before, after = data.reshape(2, -1).tolist()
    return list(zip(before, after))


def _replace(graph: oir.Graph, node: oir.Node, pads: list[tuple[int, int]]) -> None:
    value, name = node.inputs[0], node.outputs[0].name or "pad"
    assert value is not None and value.shape is not None
    shape = [dim for dim in value.shape if isinstance(dim, int)]
    axes = [axis for axis, (before, after) in enumerate(pads) if before or after]
    for axis in axes:
        before, after = pads[axis]
        positions = np.clip(np.arange(-before, shape[axis] + after), 0, shape[axis] - 1)
        index = add_constant(graph, f"{name}_edge{axis}", positions.astype(np.int64))
        shape[axis] = len(positions)
        if axis == axes[-1]:
            replace_node(node, "Gather", [value, index], {"axis": axis})
            return
        gathered = insert_before(node, "Gather", [value, index], {"axis": axis}, f"{name}_axis{axis}")
        gathered.shape, gathered.type, value = oir.Shape(shape), value.type, gathered
