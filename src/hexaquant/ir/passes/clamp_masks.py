"""Attention masks of -inf or -3.4e38 become -100.

The target's float16 ends at 65,504, and an integer grid that holds -3.4e38 has no step left for the scores. exp(-100)
is 0 in float16 and 4e-44 in float32.

1. The constant is float32 with entries of -1e4 or less and no others below -100, and is read only by
   (a) an Add of it, (b) a Where that chooses it, (c) a Mul of it, if it is one number, by something that is 0 or 1
   (a Cast from bool, or 1 minus one), whose product is added.
2. What results reaches a Softmax through Add, Where and data movement only, and nothing else.
3. Of (a): a constant mask leaves, along its last dimension, at least one entry above -100 in every row; rows that are
   masked whole would get other (meaningless) probabilities. In (b) and (c) they are, where the data mask a whole row.
4. Equal to float32 rounding as long as the scores of a row differ by less than 80.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import producer, set_constant
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.match import is_number

MASK, LARGE = -100.0, -1e4
THROUGH = ("Add", "Where", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Slice", "Cast", "Identity")


def clamp_masks(graph: Graph) -> int:
    """Returns the number of constants clamped."""
    changed = 0
    for value in graph.initializers.values():
        data = constant(value)
        if data is None or data.dtype != np.float32 or not _is_mask(data) or value.is_graph_output():
            continue
        uses = list(value.uses())
        if uses and all(_masks_scores(use.node, value, data) for use in uses):
            set_constant(value, np.maximum(data, np.float32(MASK)))
            changed += 1
    return changed


def _is_mask(data: np.ndarray) -> bool:
    low = data < MASK
    return bool(low.any() and (data[low] <= LARGE).all() and not np.isnan(data).any())


def _masks_scores(node: oir.Node, mask: oir.Value, data: np.ndarray) -> bool:
    if node.domain != "" or not node.outputs:
        return False
    if node.op_type == "Add":
        rows = data.reshape(-1, data.shape[-1]) if data.ndim else data.reshape(1, 1)
        return bool((rows > MASK).any(axis=1).all()) and _ends_in_softmax(node.outputs[0])
    if node.op_type == "Where":
        return node.inputs[0] is not mask and _ends_in_softmax(node.outputs[0])
    if node.op_type == "Mul" and data.size == 1:
        other = node.inputs[1] if node.inputs[0] is mask else node.inputs[0]
        return _is_zero_or_one(other) and _ends_in_softmax(node.outputs[0])
    return False


def _ends_in_softmax(value: oir.Value) -> bool:
    """Condition 2."""
    uses = list(value.uses())
    if not uses or value.is_graph_output():
        return False
    for use in uses:
        node = use.node
        if node.domain != "" or (node.op_type == "Where" and use.idx == 0):
            return False
        if node.op_type == "Softmax":
            continue
        if node.op_type not in THROUGH or not _ends_in_softmax(node.outputs[0]):
            return False
    return True


def _is_zero_or_one(value: oir.Value | None) -> bool:
    """Whether ``value`` is a Cast from bool, or 1 minus one, perhaps moved."""
    node = value.producer() if value is not None else None
    if node is None or value is None:
        return False
    if node.op_type in ("Reshape", "Unsqueeze", "Squeeze", "Transpose", "Expand", "Slice"):
        return _is_zero_or_one(node.inputs[0])
    if node.op_type == "Cast":
        return node.inputs[0] is not None and node.inputs[0].dtype == oir.DataType.BOOL
    minus = producer(value, "Sub")
    return minus is not None and is_number(minus.inputs[0], 1.0) and _is_zero_or_one(minus.inputs[1])
