"""Move data movement after the dequantization of a constant into the constant: its integers and its scales.

    reshape(dequantize(q, s)) = dequantize(reshape(q), s')

1. A Transpose, Reshape, Squeeze or Unsqueeze with constant arguments reads a DequantizeLinear that nothing else reads,
   of constants, without blocks.
2. In the moved tensor the scales still vary along one axis alone (per tensor: along none). Otherwise it declines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as oir
from onnx.reference import ReferenceEvaluator

from hexaquant.ir.edit import add_constant, int_attribute, producer, replace_node, sole_consumer
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.opset import OPSET

MOVING = ("Transpose", "Reshape", "Squeeze", "Unsqueeze")


def fold_dequantized(graph: Graph) -> int:
    """Returns the number of nodes folded."""
    changed = 0
    for node in graph.nodes:
        if node.graph is None or node.domain != "" or node.op_type not in MOVING:
            continue
        dequantize = producer(node.inputs[0], "DequantizeLinear")
        if dequantize is not None and sole_consumer(dequantize.outputs[0]) is node:
            changed += _fold(graph, node, dequantize)
    return changed


def _fold(graph: Graph, node: oir.Node, dequantize: oir.Node) -> bool:
    integers = constant(dequantize.inputs[0])
    scale = constant(dequantize.inputs[1])
    zero = dequantize.inputs[2] if len(dequantize.inputs) > 2 else None
    if integers is None or scale is None or (zero is not None and constant(zero) is None):
        return False
    if any(constant(v) is None for v in node.inputs[1:] if v is not None) or int_attribute(dequantize, "block_size", 0):
        return False
    moved = _moved(node, integers)
    axis = 0
    if scale.size > 1:
        old = int_attribute(dequantize, "axis", 1) % integers.ndim
        shape = [integers.shape[old] if i == old else 1 for i in range(integers.ndim)]
        places = np.broadcast_to(np.arange(scale.size).reshape(shape), integers.shape)
        found = _axis_of(_moved(node, np.ascontiguousarray(places)), scale.size)
        if found is None:
            return False
        axis = found
    source = dequantize.inputs[0]
    base = (source.name if source is not None else None) or "weight"
    value = add_constant(graph.model.graph, f"{base}_moved", moved)
    replace_node(node, "DequantizeLinear", [value, *dequantize.inputs[1:]], {"axis": axis})
    return True


def _moved(node: oir.Node, array: np.ndarray) -> np.ndarray:
    """``node`` applied to ``array`` by ONNX's reference implementation."""
    feeds = {v.name or "": constant(v) for v in node.inputs[1:] if v is not None}
    first = node.inputs[0]
    assert first is not None
    evaluator = ReferenceEvaluator(oir.serde.serialize_node(node), opsets={"": OPSET})
    results: list[Any] = list(evaluator.run(None, {first.name or "": array, **feeds}))
    return np.asarray(results[0])


def _axis_of(places: np.ndarray, count: int) -> int | None:
    """The axis along which ``places`` counts 0, 1, ... and along which alone it varies."""
    for axis, size in enumerate(places.shape):
        shape = [size if i == axis else 1 for i in range(places.ndim)]
        if size == count and bool((places == np.arange(count).reshape(shape)).all()):
            return axis
    return None
