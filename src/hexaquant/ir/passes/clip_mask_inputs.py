"""Attention masks that are inputs are clipped at -100, whatever the data use for "never" (-inf, -3.4e38).

The Clip keeps the network's function; its low bound tells ir.input_spec that data may be infinite here, and calibration
that the input's grid ends there: what is below saturates on it.

1. The input is float32 and is only added, perhaps moved, to something that the network computes; what results reaches
   a Softmax through Add, Where and data movement only (see clamp_masks).
2. It is not clipped yet.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, insert_before, producer
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.clamp_masks import MASK, MOVES, reaches


def clip_mask_inputs(graph: Graph) -> int:
    """Returns the number of inputs clipped."""
    masks = [v for v in graph.inputs if v.dtype == oir.DataType.FLOAT and _is_mask(v)]
    for value in masks:
        uses = list(value.uses())
        low = add_constant(graph.model.graph, f"{value.name}_low", np.array(MASK, np.float32))
        first = min((use.node for use in uses), key=list(graph.model.graph).index)
        clipped = insert_before(first, "Clip", [value, low], {}, f"{value.name}_clipped")
        clipped.type = value.type
        clipped.shape = value.shape
        for use in uses:
            use.node.replace_input_with(use.idx, clipped)
    return len(masks)


def mask_floor(value: oir.Value) -> float | None:
    """The bound below which the network does not tell values of its input ``value`` apart; None without one."""
    uses = list(value.uses())
    node = uses[0].node if len(uses) == 1 else None
    if node is None or node.op_type != "Clip" or len(node.inputs) < 2 or value.is_graph_output():
        return None
    bound = constant(node.inputs[1])
    return float(bound.reshape(-1)[0]) if bound is not None and bound.size == 1 else None


def _is_mask(value: oir.Value) -> bool:
    uses = list(value.uses())
    if not uses or value.is_graph_output():
        return False
    for use in uses:
        node = use.node
        if node.domain != "":
            return False
        if node.op_type == "Add":
            other = node.inputs[1 - use.idx]
            if other is None or not _is_computed(other) or not reaches(node.outputs[0], "Softmax"):
                return False
        elif node.op_type not in MOVES or use.idx != 0 or not _is_mask(node.outputs[0]):
            return False
    return True


def _is_computed(value: oir.Value) -> bool:
    """Whether ``value`` is more than an input or a constant, moved."""
    node = value.producer()
    if node is None:
        return False
    if producer(value, node.op_type) is not None and node.op_type in MOVES and node.inputs[0] is not None:
        return _is_computed(node.inputs[0])
    return True
