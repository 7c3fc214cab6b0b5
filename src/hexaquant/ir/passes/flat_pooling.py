"""Pooling in three dimensions, one part of the window after the other; operators that take any rank flattened.

1. MaxPool of (N, C, D, H, W): over H, W with depth and channels merged, then over D with H, W merged.
2. GlobalMaxPool of rank 5: of (N, C, D H, W).
3. InstanceNormalization of rank 5: of (N, C, D H, W), and back.

Legal when all dimensions but the batch are numbers, MaxPool gives no indices, and rounding up (ceil_mode) gives no
other size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as oir
import sympy

from hexaquant.ir.edit import int_attribute, ints_attribute, string_attribute
from hexaquant.ir.emitter import Emitter, free_dims
from hexaquant.ir.graph import Graph


def flat_pooling(graph: Graph) -> int:
    """Returns the number of operators rewritten."""
    changed = 0
    for node in graph.nodes:
        dims = free_dims(node.inputs[0]) if node.inputs and node.inputs[0] is not None else None
        if node.domain != "" or dims is None or len(dims) != 5 or not all(d.is_Integer for d in dims[1:]):
            continue
        if node.op_type == "MaxPool":
            changed += _in_two(node, dims)
        elif node.op_type in ("GlobalMaxPool", "InstanceNormalization"):
            _flattened(node, dims)
            changed += 1
    return changed


def _in_two(node: oir.Node, dims: list[sympy.Expr]) -> bool:
    kernel = ints_attribute(node, "kernel_shape")
    result = free_dims(node.outputs[0])
    if len(kernel) != 3 or result is None or (len(node.outputs) > 1 and node.outputs[1].uses()):
        return False
    if int_attribute(node, "ceil_mode", 0) and not _covers(node, dims, result):
        return False
    ones = [1, 1, 1]
    steps = ints_attribute(node, "strides", ones)
    spread = ints_attribute(node, "dilations", ones)
    pads = _pads(node, dims, result, kernel, steps)
    emit = Emitter(node)
    source = node.inputs[0]
    name = node.outputs[0].name or "pool"
    assert source is not None
    n, c, d, h, w = dims
    after = [int(x) for x in result[2:]]
    parts = (((n, c * d, h, w), (1, 2)), ((n, c, d, after[1] * after[2]), (0, None)))
    value = source
    for shape, axes in parts:
        value = emit.reshaped(value, [sympy.sympify(x) for x in shape], f"{name}_flat")
        windows = [_window(axis, kernel, steps, spread, pads) for axis in axes]
        if any(window != (1, 1, 1, 0, 0) for window in windows):
            value = emit.op(node.op_type, [value], f"{name}_pooled", **_attributes(windows))
        if axes == (1, 2):
            value = emit.reshaped(value, [n, c, d, *map(sympy.Integer, after[1:])], f"{name}_deep")
    emit.finish(emit.reshaped(value, result, f"{name}_volume"))
    return True


def _covers(node: oir.Node, dims: Sequence[sympy.Expr], result: Sequence[sympy.Expr]) -> bool:
    """Whether rounding up gives the size that rounding down gives."""
    kernel = ints_attribute(node, "kernel_shape")
    steps = ints_attribute(node, "strides", [1, 1, 1])
    pads = ints_attribute(node, "pads", [0] * 6)
    spread = ints_attribute(node, "dilations", [1, 1, 1])
    sizes = [int(d) + pads[i] + pads[i + 3] - (kernel[i] - 1) * spread[i] - 1 for i, d in enumerate(dims[2:])]
    return all(size // steps[i] + 1 == int(result[2 + i]) for i, size in enumerate(sizes))


def _pads(
    node: oir.Node, dims: Sequence[sympy.Expr], result: Sequence[sympy.Expr], kernel: list[int], steps: list[int]
) -> list[int]:
    """Explicit pads, those before first, of whatever auto_pad says."""
    way = string_attribute(node, "auto_pad", "NOTSET")
    if not way.startswith("SAME"):
        return ints_attribute(node, "pads", [0] * 6) if way == "NOTSET" else [0] * 6
    total = [
        max(0, (int(out) - 1) * step + size - int(dim))
        for out, step, size, dim in zip(result[2:], steps, kernel, dims[2:])
    ]
    less = [t // 2 for t in total]
    more = [t - t // 2 for t in total]
    return [*less, *more] if way == "SAME_UPPER" else [*more, *less]


Window = tuple[int, int, int, int, int]


def _window(axis: int | None, kernel: list[int], steps: list[int], spread: list[int], pads: list[int]) -> Window:
    """Kernel, stride, dilation and pads of one axis; None stands for an axis that is not pooled."""
    if axis is None:
        return 1, 1, 1, 0, 0
    return kernel[axis], steps[axis], spread[axis], pads[axis], pads[axis + 3]


def _attributes(windows: list[Window]) -> dict[str, Any]:
    kernel, steps, spread, before, after = (list(values) for values in zip(*windows))
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": steps, "pads": [*before, *after]}
    if any(d > 1 for d in spread):
        attributes["dilations"] = spread
    return attributes


def _flattened(node: oir.Node, dims: list[sympy.Expr]) -> None:
    emit = Emitter(node)
    source = node.inputs[0]
    name = node.outputs[0].name or "flat"
    assert source is not None
    n, c, d, h, w = dims
    flat = emit.reshaped(source, [n, c, d * h, w], f"{name}_flat")
    attributes = {key: value.value for key, value in node.attributes.items() if isinstance(value, oir.Attr)}
    value = emit.op(node.op_type, [flat, *node.inputs[1:]], f"{name}_whole", **attributes)
    ones = [sympy.Integer(1)] * 3 if node.op_type == "GlobalMaxPool" else [d, h, w]
    emit.finish(emit.reshaped(value, [n, c, *ones], f"{name}_volume"))
