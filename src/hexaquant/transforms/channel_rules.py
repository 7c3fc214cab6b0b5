"""The rule of each operator for transforms/channel_scaling.py: where the labels of its operands go."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import int_attribute, ints_attribute, private_constant, string_attribute
from hexaquant.ir.graph import Graph, constant, shape_of
from hexaquant.ir.passes.match import scalar
from hexaquant.transforms.channel_ids import Ids, fits, on_axis, reshape_ids, unlabelled, vector
from hexaquant.transforms.channel_scaling import Array, Operand, Scaling, Walk

Rule = Callable[[Walk, oir.Node], None]

CLIP_MARGIN = 1.1
"""A Clip(0, c) counts as a Relu for channels that stay below c by this factor, before and after rescaling."""


def find_scaling(graph: Graph, *, clip_maxima: Mapping[str, Array] | None = None, residuals: bool = True) -> Scaling:
    """The freedom to rescale channels that ``graph`` (prepared for the target) has.

    ``clip_maxima``: input of a Clip(0, c) -> largest value seen in each channel, shape (C,). Where it lies well below
    c the Clip counts as a Relu as long as the rescaled channel stays below c; this preserves the function on data
    like that only. Without it every Clip(0, c) pins its channels, since a bound for each channel is not legal on the
    target. ``residuals``: False pins the operands of sums of two computed tensors.
    """
    walk = Walk(graph, clip_maxima or {}, residuals)
    for node in graph.nodes:
        rule = _unknown if node.domain else RULES.get(node.op_type, _unknown)
        rule(walk, node)
    return walk.finish()


def _unknown(walk: Walk, node: oir.Node) -> None:
    walk.pin(node, f"{node.op_type} does not commute with a scale for each channel")


def _same(walk: Walk, node: oir.Node) -> None:
    """Elementwise and positively homogeneous."""
    walk.give(node.outputs[0], walk.ids(node.inputs[0]))


def _spatial(walk: Walk, node: oir.Node) -> None:
    """Works within each channel (axis 1) of an image: pooling, Resize."""
    ids, before, after = walk.ids(node.inputs[0]), shape_of(node.inputs[0]), shape_of(node.outputs[0])  # type: ignore[arg-type]
    inner = any(n != 1 for axis, n in enumerate(ids.shape) if axis != 1)
    if inner or before is None or after is None or len(before) < 2 or before[1] != after[1]:
        walk.pin(node, f"{node.op_type} mixes the channels")
    else:
        walk.give(node.outputs[0], ids)
    for value in node.outputs[1:]:
        walk.scaling.labels[value.name or ""] = unlabelled(0 if value.shape is None else len(value.shape))


def _pad(walk: Walk, node: oir.Node) -> None:
    """Zeros, or values of the same channel, around a channel."""
    ids, before, after = walk.ids(node.inputs[0]), shape_of(node.inputs[0]), shape_of(node.outputs[0])  # type: ignore[arg-type]
    fill = scalar(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else 0.0
    constant_mode = string_attribute(node, "mode", "constant") == "constant"
    grown = before is None or after is None or any(n != 1 and b != a for n, b, a in zip(ids.shape, before, after))
    if grown or (constant_mode and fill != 0.0):
        walk.pin(node, "Pad writes values that are not zero, or new channels")
    else:
        walk.give(node.outputs[0], ids)


def _reshape(walk: Walk, node: oir.Node) -> None:
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])  # type: ignore[arg-type]
    ids = None
    if before is not None and after is not None:
        ids = reshape_ids(walk.ids(node.inputs[0]), before, after)
    if ids is None:
        walk.pin(node, f"{node.op_type} takes the channels apart")
    else:
        walk.give(node.outputs[0], ids)


def _transpose(walk: Walk, node: oir.Node) -> None:
    ids = walk.ids(node.inputs[0])
    order = ints_attribute(node, "perm", range(ids.ndim)[::-1])
    if len(order) != ids.ndim:
        return _unknown(walk, node)
    return walk.give(node.outputs[0], ids.transpose(order))


def _reduce(walk: Walk, node: oir.Node) -> None:
    ids = walk.ids(node.inputs[0])
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    places = tuple(int(a) % max(ids.ndim, 1) for a in axes.reshape(-1)) if axes is not None else tuple(range(ids.ndim))
    if any(ids.shape[axis] != 1 for axis in places):
        return walk.pin(node, f"{node.op_type} sums over the channels")
    kept = int_attribute(node, "keepdims", 1)
    return walk.give(node.outputs[0], ids if kept else ids.squeeze(places))


def _concat(walk: Walk, node: oir.Node) -> None:
    parts = [walk.ids(v) for v in node.inputs]
    axis = int_attribute(node, "axis", 0)
    shapes = [shape_of(v) for v in node.inputs if v is not None]
    ranks = {ids.ndim for ids in parts}
    if ranks != {len(s) for s in shapes if s is not None} or len(ranks) != 1:
        return _unknown(walk, node)
    axis %= ranks.pop()
    wide = []
    for ids, shape in zip(parts, shapes):
        size = shape[axis] if shape is not None else None
        if not isinstance(size, int):
            return _unknown(walk, node)
        wide.append(np.repeat(ids, size, axis) if ids.shape[axis] == 1 else ids)
    common = np.broadcast_shapes(*(ids.shape[:axis] + (1,) + ids.shape[axis + 1 :] for ids in wide))
    grown = [np.broadcast_to(ids, common[:axis] + (ids.shape[axis],) + common[axis + 1 :]) for ids in wide]
    return walk.give(node.outputs[0], np.concatenate(grown, axis))


def _split(walk: Walk, node: oir.Node) -> None:
    ids = walk.ids(node.inputs[0])
    start = 0
    axis = int_attribute(node, "axis", 0) % max(ids.ndim, 1)
    for value in node.outputs:
        shape = shape_of(value)
        size = shape[axis] if shape is not None else None
        if ids.ndim == 0 or ids.shape[axis] == 1:
            walk.give(value, ids)
        elif isinstance(size, int):
            walk.give(value, ids.take(range(start, start + size), axis))
            start += size
        else:
            return _unknown(walk, node)
    return None


def _gather(walk: Walk, node: oir.Node) -> None:
    """An embedding table with computed indices absorbs scales; constant indices pick labels."""
    data = node.inputs[0]
    index = constant(node.inputs[1])
    axis = int_attribute(node, "axis", 0)
    shape = shape_of(node.outputs[0])
    table = private_constant(data)
    if table is not None and table.ndim == 2 and axis == 0 and table.dtype.kind == "f" and shape is not None:
        ids = walk.all.fresh(table.shape[1])
        walk.scaling.operands.append(Operand(node, data, None, on_axis(ids, 2, 1)))  # type: ignore[arg-type]
        return walk.give(node.outputs[0], on_axis(ids, len(shape), -1))
    ids, index_shape = walk.ids(data), shape_of(node.inputs[1])  # type: ignore[arg-type]
    if ids.ndim and ids.shape[axis] == 1 and index_shape is not None:
        return walk.give(node.outputs[0], np.take(ids, np.zeros((1,) * len(index_shape), np.int64), axis))
    if index is None or ids.ndim == 0:
        return _unknown(walk, node)
    return walk.give(node.outputs[0], np.take(ids, index, axis))


def _slice(walk: Walk, node: oir.Node) -> None:
    ids = walk.ids(node.inputs[0])
    bounds = [None if v is None else constant(v) for v in [*node.inputs[1:5], None, None][:4]]
    starts, ends, axes, steps = bounds
    if starts is None or ends is None or (axes is None and len(node.inputs) > 3 and node.inputs[3] is not None):
        return _unknown(walk, node)
    for place, (start, end) in enumerate(zip(starts.tolist(), ends.tolist())):
        axis = place if axes is None else int(axes[place]) % max(ids.ndim, 1)
        if ids.ndim and ids.shape[axis] != 1:
            step = 1 if steps is None else int(steps[place])
            if step < 1:
                return _unknown(walk, node)
            ids = ids.take(range(*slice(start, end, step).indices(ids.shape[axis])), axis)
    return walk.give(node.outputs[0], ids)


def _sum(walk: Walk, node: oir.Node) -> None:
    """All operands and the result share their scales; constants are divided."""
    computed = [v for v in node.inputs if v is not None and constant(v) is None]
    if not computed:
        return _unknown(walk, node)
    if len(computed) > 1 and not walk.residuals:
        return walk.pin(node, "sums of two layers are left alone")
    ids: Ids = walk.ids(computed[0])
    for other in computed[1:]:
        walk.all.union(ids, walk.ids(other))
        ids = np.maximum(*np.broadcast_arrays(ids, walk.ids(other)))
    for value in node.inputs:
        data = constant(value)
        if value is None or data is None or not data.any():
            continue
        if private_constant(value) is None or not fits(ids, data.shape):
            return walk.pin(node, f"the constant '{value.name}' is shared or smaller than the channels")
        lead = ids.reshape(ids.shape[ids.ndim - data.ndim :]) if data.ndim < ids.ndim else ids
        walk.scaling.operands.append(Operand(node, value, None, lead, "bias"))
    return walk.give(node.outputs[0], _padded(ids, node))


def _product(walk: Walk, node: oir.Node) -> None:
    """Mul by a constant absorbs scales on both sides; of two computed operands the less free one is pinned."""
    a = node.inputs[0]
    b = node.inputs[1]
    assert a is not None and b is not None
    if constant(a) is not None and node.op_type == "Div":
        return _unknown(walk, node)
    if constant(a) is not None or constant(b) is not None:
        return _by_constant(walk, node, *((b, a) if constant(a) is not None else (a, b)))
    ids = walk.ids(a)
    other = walk.ids(b)
    if node.op_type == "Div" or walk.all.free(ids) >= walk.all.free(other):
        walk.hold(other)
    else:
        walk.hold(ids)
        ids = other
    return walk.give(node.outputs[0], _padded(ids, node))


def _by_constant(walk: Walk, node: oir.Node, x: oir.Value, factor: oir.Value) -> None:
    ids = walk.ids(x)
    data = private_constant(factor)
    shape = shape_of(node.outputs[0])
    vector_like = data is not None and data.ndim and data.size == data.shape[_widest(data)] > 1
    if node.op_type == "Div" or data is None or shape is None or not vector_like or walk.all.free(ids):
        return walk.give(node.outputs[0], _padded(ids, node))
    fresh = on_axis(walk.all.fresh(data.size), data.ndim, _widest(data))
    walk.scaling.operands.append(Operand(node, factor, None, fresh))
    return walk.give(node.outputs[0], fresh.reshape((1,) * (len(shape) - data.ndim) + fresh.shape))


def _widest(data: np.ndarray) -> int:
    return int(np.argmax(data.shape))


def _padded(ids: Ids, node: oir.Node) -> Ids:
    """``ids`` with leading axes of 1 up to the rank of the output."""
    shape = shape_of(node.outputs[0])
    rank = ids.ndim if shape is None else len(shape)
    return ids.reshape((1,) * (rank - ids.ndim) + ids.shape)


def _clip(walk: Walk, node: oir.Node) -> None:
    low, high = (scalar(v) if v is not None else None for v in [*node.inputs[1:3], None, None][:2])
    ids = walk.ids(node.inputs[0])
    if low == 0 and (len(node.inputs) < 3 or node.inputs[2] is None):
        return _same(walk, node)
    seen = walk.clip_maxima.get((node.inputs[0].name if node.inputs[0] is not None else None) or "")
    if seen is None or low != 0 or high is None or ids.ndim < 2 or vector(ids, 1, len(seen)) is None:
        return walk.pin(node, f"its bound {high if high is not None else ''} is the same for all channels")
    least = CLIP_MARGIN * seen / high
    labels = on_axis(vector(ids, 1, len(seen)), ids.ndim, 1)  # type: ignore[arg-type]
    reached = least > 1
    walk.hold(labels.reshape(-1)[reached])
    walk.bounds.append((labels.reshape(-1)[~reached], least[~reached]))
    return walk.give(node.outputs[0], labels)


def _matmul(walk: Walk, node: oir.Node) -> None:
    a = node.inputs[0]
    b = node.inputs[1]
    if constant(b) is None and constant(a) is None:
        return _attend(walk, node, a, b)
    weight = constant(b)
    if weight is None or weight.ndim != 2:
        return _unknown(walk, node)
    return _layer(walk, node, -1, np.arange(2)[::-1], None)


def _attend(walk: Walk, node: oir.Node, a: oir.Value | None, b: oir.Value | None) -> None:
    """a @ b of two computed tensors: the columns of b go through, its rows and all of a are pinned."""
    ids = walk.ids(b)
    shape = shape_of(node.outputs[0])
    if shape is None or ids.ndim != len(shape) or ids.ndim < 2 or ids.shape[-2] != 1:
        return walk.pin(node, "MatMul of two computed tensors sums over the channels")
    walk.hold(walk.ids(a))
    return walk.give(node.outputs[0], ids)


def _gemm(walk: Walk, node: oir.Node) -> None:
    if constant(node.inputs[1]) is None or int_attribute(node, "transA", 0):
        return _unknown(walk, node)
    order = np.arange(2) if int_attribute(node, "transB", 0) else np.arange(2)[::-1]
    return _layer(walk, node, -1, order, None)


def _conv(walk: Walk, node: oir.Node) -> None:
    if constant(node.inputs[1]) is None:
        return _unknown(walk, node)
    order = np.arange(2)[::-1] if node.op_type == "ConvTranspose" else np.arange(2)
    return _layer(walk, node, 1, order, int_attribute(node, "group", 1))


def _layer(walk: Walk, node: oir.Node, axis: int, order: np.ndarray, groups: int | None) -> None:
    """A layer with a weight whose axes (output, input) are ``order``; its channels lie on ``axis`` of its tensors."""
    weight = node.inputs[1]
    shape = shape_of(node.outputs[0])
    data = private_constant(weight)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    x_ids, x_shape = walk.ids(node.inputs[0]), shape_of(node.inputs[0])  # type: ignore[arg-type]
    if data is None or weight is None or shape is None or x_shape is None or (bias and private_constant(bias) is None):
        return walk.pin(node, "its weight or bias is shared with another layer")
    count = groups or 1
    per_group = (data.shape[order[0]], data.shape[order[1]])
    forward = order[0] == 0
    outputs = per_group[0] * (1 if forward else count)
    x = vector(x_ids, axis, per_group[1] * (count if forward else 1)) if x_ids.ndim == len(x_shape) else None
    if x is None:
        walk.hold(x_ids)
        x = np.zeros(per_group[1] * (count if forward else 1), np.int64)
    y = walk.all.fresh(outputs)
    ids = _weight_ids(x, y, data.shape, count, forward)
    walk.scaling.operands.append(Operand(node, weight, *ids))
    if bias is not None and constant(bias).size == outputs:  # type: ignore[union-attr]
        at = on_axis(y, constant(bias).ndim, -1)  # type: ignore[union-attr]
        walk.scaling.operands.append(Operand(node, bias, None, at, "bias"))
    elif bias is not None:
        walk.hold(y)
    return walk.give(node.outputs[0], on_axis(y, len(shape), axis))


def _weight_ids(x: Ids, y: Ids, shape: tuple[int, ...], groups: int, forward: bool) -> tuple[Ids, Ids]:
    """Labels (input, output) that broadcast to a weight of ``shape``; ``forward``: its first axis is the output's."""
    first, second = (y, x) if forward else (x, y)
    own = on_axis(first, len(shape), 0)
    if groups == 1:
        other = on_axis(second, len(shape), 1)
    else:
        rows = np.repeat(second.reshape(groups, -1), shape[0] // groups, 0)
        other = rows.reshape(rows.shape + (1,) * (len(shape) - 2))
    return (other, own) if forward else (own, other)


def _norm(walk: Walk, node: oir.Node) -> None:
    """gamma and beta absorb the scales of the output; the input is pinned."""
    shape = shape_of(node.outputs[0])
    parameters = [v for v in node.inputs[1:3] if v is not None]
    arrays = [private_constant(v) for v in parameters]
    axis = 1 if node.op_type == "InstanceNormalization" else -1
    own = node.op_type == "InstanceNormalization" or int_attribute(node, "axis", -1) in (-1, len(shape or ()) - 1)
    walk.pin(node, f"{node.op_type} normalizes its input")
    if shape is None or not own or not arrays or any(a is None or a.shape != arrays[0].shape for a in arrays):  # type: ignore[union-attr]
        return
    ids = walk.all.fresh(arrays[0].size)  # type: ignore[union-attr]
    for value, role in zip(parameters, ("weight", "bias")):
        walk.scaling.operands.append(Operand(node, value, None, ids, role))
    walk.give(node.outputs[0], on_axis(ids, len(shape), axis))


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Relu", "LeakyRelu", "PRelu", "Identity", "Dropout", "Abs"), _same),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize"), _spatial),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"), _reduce),
    **dict.fromkeys(("Add", "Sub", "Sum", "Max", "Min"), _sum),
    **dict.fromkeys(("Mul", "Div"), _product),
    **dict.fromkeys(("Conv", "ConvTranspose"), _conv),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization", "InstanceNormalization"), _norm),
    "Transpose": _transpose,
    "Pad": _pad,
    "Concat": _concat,
    "Split": _split,
    "Gather": _gather,
    "Slice": _slice,
    "Clip": _clip,
    "MatMul": _matmul,
    "Gemm": _gemm,
}
"""Operators whose labels are followed; all others pin."""
