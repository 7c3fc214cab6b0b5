"""What attention masks can be, whatever the calibration data show: their grids must hold it.

Data without padding never mask. A range that is only observed then ends at 0, and a mask at run time has no effect.

1. A mask is made of booleans, of integers or inputs that are 0 or 1, of inputs that are clipped at -100, and of
   constants, by Cast, Sub, Add, Mul, Neg, Clip, Where and data movement; intervals say what it can be.
2. It lowers scores: it is added to (or subtracted from) something else, which then reaches a Softmax (see
   ir.passes.clamp_masks). Where its interval does not reach half of MASK it is no mask.
3. The scores themselves need not span it. A margin below the largest value of the row all masked entries together are
   half a step of the probabilities at most (core/observers/scores.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx_ir as oir

from hexaquant.ir.body import rank_of, static_dim
from hexaquant.ir.edit import int_attribute
from hexaquant.ir.graph import Graph, constant, is_float_value
from hexaquant.ir.passes.clamp_masks import MASK, MOVES, PICKS, reaches
from hexaquant.ir.passes.clip_mask_inputs import mask_floor

Interval = tuple[float, float]

LONG = 512
"""Entries of a row whose length is unknown."""
SLACK = 2.0
"""For rows at run time that lie lower than any in calibration did: so much deeper they still vanish."""


def mask_ranges(graph: Graph) -> dict[str, Interval]:
    """Name of each tensor on the way to a mask -> (lowest, highest) value that the mask may take there."""
    intervals: dict[oir.Value, Interval] = {}
    for node in graph.nodes:
        found = _interval(node, intervals)
        if found is not None:
            intervals[node.outputs[0]] = found
    result: dict[str, Interval] = {}
    for node in graph.nodes:
        for mask in _masks(node, intervals):
            for value in _ancestors(mask, intervals):
                result[value.name or ""] = _of(value, intervals) or (0.0, 0.0)
    return result


def margin_of(length: int | None, bits: int) -> float:
    """How far below the largest of ``length`` entries the others make half a step of ``bits`` after a Softmax, all
    together."""
    return math.log(2.0 ** (bits + 1) * (length or LONG)) + SLACK


def masked_scores(graph: Graph, masks: dict[str, Interval]) -> dict[str, tuple[int | None, int | None]]:
    """The tensors in which scores and a mask of ``masks``, or a constant mask, have come together: name -> (axis of the
    Softmax behind it, from the end, and its length); None for what is unknown."""
    found: dict[str, tuple[int | None, int | None]] = {}
    for node in graph.nodes:
        result = node.outputs[0] if node.outputs else None
        if result is None or (result.name or "") in masks or not reaches(result, "Softmax"):
            continue
        operands = node.inputs[1:] if node.op_type == "Where" else node.inputs
        names = {value.name for value in operands if value is not None}
        meets = node.op_type in ("Add", "Sub", "Where") and any(_is_low(value, masks) for value in operands)
        if meets or names & found.keys():
            axis = _softmax_axis(result)
            found[result.name or ""] = axis, None if axis is None else static_dim(result, axis)
    return found


def _softmax_axis(scores: oir.Value) -> int | None:
    """The axis along which all Softmax behind ``scores`` go, from the end; None where they differ or it is unknown."""
    axes = {_axis_before(use.node) for use in scores.uses()}
    return axes.pop() if len(axes) == 1 else None


def _axis_before(node: oir.Node) -> int | None:
    """The axis of the first input of ``node`` that reaches a Softmax as its axis."""
    rank = rank_of(node.inputs[0])
    if node.op_type == "Softmax":
        own = int_attribute(node, "axis", -1)
        return own if own < 0 else None if rank is None else own - rank
    axis = _softmax_axis(node.outputs[0])
    if axis is None or node.op_type in ("Add", "Where", "Identity", "Cast"):
        return axis
    if node.op_type == "Transpose" and "perm" in node.attributes and rank is not None:
        return list(node.attributes["perm"].as_ints())[axis] - rank
    same = axis == -1 and static_dim(node.inputs[0], -1) == static_dim(node.outputs[0], -1) is not None
    return -1 if same else None


def _is_low(value: oir.Value | None, masks: dict[str, Interval]) -> bool:
    if value is None:
        return False
    data = constant(value)
    if data is not None:
        return is_float_value(value) and data.size > 0 and bool(data.min() <= MASK / 2)
    return (value.name or "") in masks


def _masks(node: oir.Node, intervals: dict[oir.Value, Interval]) -> Iterator[oir.Value]:
    """The operands of ``node`` that lower scores (condition 2)."""
    if node.op_type not in ("Add", "Sub") or not reaches(node.outputs[0], "Softmax"):
        return
    for place, value in enumerate(node.inputs):
        other = node.inputs[1 - place]
        if value is None or constant(value) is not None or _of(other, intervals) is not None:
            continue
        low, high = _of(value, intervals) or (0.0, 0.0)
        if (-high if node.op_type == "Sub" and place == 1 else low) <= MASK / 2:
            yield value


def _ancestors(value: oir.Value, intervals: dict[oir.Value, Interval]) -> Iterator[oir.Value]:
    """``value`` and the float tensors of which it is made, without constants."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if constant(one) is not None or not is_float_value(one):
            continue
        yield one
        node = one.producer()
        waiting += [v for v in ([] if node is None else node.inputs) if v is not None]


def _of(value: oir.Value | None, intervals: dict[oir.Value, Interval]) -> Interval | None:
    """What ``value`` can be, None where it can be anything."""
    if value is None:
        return None
    data = constant(value)
    if data is not None:
        return (float(data.min()), float(data.max())) if data.size and data.dtype.kind in "fiub" else None
    if not value.is_graph_input() or value.dtype is None:
        return intervals.get(value)
    floor = mask_floor(value)
    return (0.0, 1.0) if floor is None else (floor, 0.0)


def _interval(node: oir.Node, intervals: dict[oir.Value, Interval]) -> Interval | None:
    """What the first output of ``node`` can be (condition 1)."""
    if not node.outputs or not node.inputs:
        return None
    found = [_of(value, intervals) for value in node.inputs]
    first = found[0]
    if node.op_type == "Where":
        chosen = found[1:3]
        return None if None in chosen else _span([end for one in chosen if one is not None for end in one])
    if node.op_type == "Cast":
        source = node.inputs[0]
        whole = source is not None and source.dtype is not None and not source.dtype.is_floating_point()
        return first or ((0.0, 1.0) if whole else None)
    if first is None:
        return None
    if node.op_type in MOVES or (node.op_type in PICKS and node.op_type != "Concat") or node.op_type == "Clip":
        return first
    if node.op_type == "Neg":
        return -first[1], -first[0]
    second = found[1] if len(found) == 2 else None
    if second is None:
        return None
    if node.op_type == "Add":
        return first[0] + second[0], first[1] + second[1]
    if node.op_type == "Sub":
        return first[0] - second[1], first[1] - second[0]
    return _span([a * b for a in first for b in second]) if node.op_type == "Mul" else None


def _span(numbers: list[float]) -> Interval:
    return min(numbers), max(numbers)
