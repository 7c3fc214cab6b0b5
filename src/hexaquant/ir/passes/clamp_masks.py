"""Masks and limits of -inf, -3.4e38 or -1e9 become numbers that a grid can hold beside the values they meet.

The target's float16 ends at 65,504, and an integer grid that holds -3.4e38 has no step left for the scores. exp(-100)
is 0 in float16 and 4e-44 in float32; sigmoid(16) is 1 in 16 bits.

1. The constant is float32 with entries of 1e4 or more in size, all of one sign that matters here, and no others beyond
   the new limit. Uses that are no masks keep the old constant.
2. A mask: it is added to scores (or subtracted), or chosen by a Where, or is one number that multiplies something that
   is 0 or 1 (a Cast from bool or integers, an input, 1 minus one of these) and is then added; perhaps moved in between.
   What results reaches a Softmax through Add, Where and data movement only, and nothing else. It becomes -100.
3. A constant that is added as it is leaves, along its last dimension, at least one entry above -100 in every row; rows
   that are masked whole would get other (meaningless) probabilities. Where the data mask a whole row, they do.
4. An anchor: it is added to something that reaches a Sigmoid, in the same way. It becomes 16 or -16.
5. Equal to float32 rounding as long as the scores of a row differ by less than 80.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, producer, set_constant
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.match import is_number

MASK = -100.0
ANCHOR = 16.0
LARGE = 1e4
MOVES = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Slice", "Cast", "Identity", "Tile"})
PICKS = frozenset({"Concat", "Gather", "GatherElements", "GatherND", "Split"})
"""Movement whose other operands do not count: indices, or neighbours that stay what they are."""


def clamp_masks(graph: Graph) -> int:
    """Returns the number of constants clamped."""
    changed = 0
    for value in list(graph.initializers.values()):
        data = constant(value)
        if data is None or data.dtype != np.float32 or not data.size or value.is_graph_output():
            continue
        if not np.abs(data).max() >= LARGE:  # NaN too
            continue
        masks = [(node, place) for node, place in value.uses() if _is_mask(node, value, data)]
        anchors = [(node, place) for node, place in value.uses() if _is_anchor(node, value)]
        changed += _clamp(graph, value, _masking(data), masks)
        changed += _clamp(graph, value, _anchors(data), anchors)
    return changed


def _masking(data: np.ndarray) -> np.ndarray | None:
    """``data`` with its large entries as masks; None when others are between."""
    sign = -1 if (data <= -LARGE).any() else 1
    large = sign * data >= LARGE
    if bool((np.abs(data[~large]) > -MASK).any()):
        return None
    return np.where(large, np.float32(-sign * MASK), data).astype(np.float32)


def _anchors(data: np.ndarray) -> np.ndarray | None:
    large = np.abs(data) >= LARGE
    if bool((np.abs(data[~large]) > ANCHOR).any()):
        return None
    return np.where(large, np.sign(data) * np.float32(ANCHOR), data).astype(np.float32)


def _clamp(graph: Graph, value: oir.Value, clamped: np.ndarray | None, uses: list[tuple[oir.Node, int]]) -> bool:
    """Give ``uses`` of ``value`` the data ``clamped``."""
    if clamped is None or not uses:
        return False
    if len(uses) == len(value.uses()):
        set_constant(value, clamped)
        return True
    copy = add_constant(graph.model.graph, f"{value.name}_clamped", clamped)
    for node, place in uses:
        node.replace_input_with(place, copy)
    return True


def _is_mask(node: oir.Node, mask: oir.Value, data: np.ndarray) -> bool:
    """Conditions 2 and 3 for the use of ``mask`` by ``node``."""
    sign = -1 if (data <= -LARGE).any() else 1
    if node.op_type in ("Add", "Sub"):
        rows = data.reshape(-1, data.shape[-1]) if data.ndim else data.reshape(1, 1)
        if not bool((np.abs(rows) < LARGE).any(axis=1).all()):
            return False
    if node.op_type == "Mul":
        factor = _zero_or_one(_other(node, mask)) if data.size == 1 else 0
        return factor != 0 and _lowers(node.outputs[0], sign * factor)
    return _lowers_in(node, mask, sign)


def _lowers(value: oir.Value, sign: int) -> bool:
    """Whether ``value``, whose large entries have ``sign``, only ever lowers scores."""
    uses = list(value.uses())
    return bool(uses) and not value.is_graph_output() and all(_lowers_in(use.node, value, sign) for use in uses)


def _lowers_in(node: oir.Node, value: oir.Value, sign: int) -> bool:
    if node.domain != "" or not node.outputs:
        return False
    result = node.outputs[0]
    if node.op_type == "Add" or (node.op_type == "Sub" and node.inputs[0] is value):
        return sign < 0 and reaches(result, "Softmax")
    if node.op_type == "Sub":
        return sign > 0 and reaches(result, "Softmax")
    if node.op_type == "Where":
        return node.inputs[0] is not value and sign < 0 and (reaches(result, "Softmax") or _lowers(result, sign))
    if node.op_type == "Neg":
        return _lowers(result, -sign)
    if node.op_type == "Mul":
        factor = _zero_or_one(_other(node, value))
        return factor != 0 and _lowers(result, sign * factor)
    moves = node.op_type in MOVES or node.op_type in PICKS
    return moves and node.inputs[0] is value and all(_lowers(v, sign) for v in node.outputs if v.uses())


def _is_anchor(node: oir.Node, anchor: oir.Value) -> bool:
    """Condition 4."""
    if (
        node.domain != ""
        or node.op_type not in ("Add", "Where")
        or (node.inputs[0] is anchor and node.op_type == "Where")
    ):
        return False
    return reaches(node.outputs[0], "Sigmoid")


def reaches(value: oir.Value, op_type: str) -> bool:
    """Whether ``value`` reaches an ``op_type`` through Add, Where and data movement, and nothing else."""
    uses = list(value.uses())
    if not uses or value.is_graph_output():
        return False
    for use in uses:
        node = use.node
        if node.domain != "" or (node.op_type == "Where" and use.idx == 0):
            return False
        if node.op_type == op_type:
            continue
        picked = node.op_type in PICKS and (use.idx == 0 or node.op_type == "Concat")
        if not picked and node.op_type not in MOVES and node.op_type not in ("Add", "Where"):
            return False
        if not all(reaches(v, op_type) for v in node.outputs if v.uses() or v.is_graph_output()):
            return False
    return True


def _other(node: oir.Node, value: oir.Value) -> oir.Value | None:
    return node.inputs[1] if node.inputs[0] is value else node.inputs[0]


def _zero_or_one(value: oir.Value | None) -> int:
    """1 for what is 0 or 1 (a Cast from bool or integers, an input, 1 minus one), -1 for 0 or -1; 0 for the rest."""
    if value is None:
        return 0
    node = value.producer()
    if node is None:
        return int(value.is_graph_input())
    if node.op_type in MOVES and node.op_type != "Cast":
        return _zero_or_one(node.inputs[0])
    if node.op_type == "Cast":
        source = node.inputs[0]
        return int(source is not None and source.dtype is not None and not source.dtype.is_floating_point())
    if node.op_type == "Mul":
        return _zero_or_one(node.inputs[0]) * _zero_or_one(node.inputs[1])
    minus = producer(value, "Sub")
    if minus is None:
        return 0
    if is_number(minus.inputs[0], 1.0):
        return int(_zero_or_one(minus.inputs[1]) == 1)
    return -int(is_number(minus.inputs[1], 1.0) and _zero_or_one(minus.inputs[0]) == 1)
