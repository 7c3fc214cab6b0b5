"""Refuse operators whose sizes do not fit together, and tensors of sizes that nobody means.

What ONNX's own shape inference leaves open (ir/infer_shapes.py raises for the rest); it would fail in the middle of a
calibration, or not at all. Only what is static and constant is judged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.ir.edit import int_attribute
from hexaquant.ir.graph import Graph, constant

MOST_BYTES = 4 << 30
"""Of one tensor. A target's whole memory is not much more."""
AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
Dims = tuple[int, ...] | None


def check_fit(graph: Graph) -> None:
    """Raise InputError naming the first tensor that is too large and the first operator that does not fit."""
    for value in graph.inputs:
        _check_value(value, graph.source)
    for node in graph.nodes:
        for value in node.outputs:
            _check_value(value, graph.source)
        problem = CHECKS[node.op_type](node) if node.domain in ("", "ai.onnx") and node.op_type in CHECKS else None
        if problem:
            raise InputError(
                f"{graph.source}: operator {node.op_type} ('{node.name}') does not fit its inputs: {problem}; "
                "export the model again"
            )


def _check_value(value: oir.Value, source: str) -> None:
    known = [d for d in value.shape if isinstance(d, int)] if value.shape is not None else []
    if any(d < 0 for d in known):
        raise InputError(f"{source}: tensor '{value.name}' has a negative size in {known}; the file is damaged")
    size = math.prod(known) * (4 if value.dtype is None else max(value.dtype.bitwidth // 8, 1))
    if size > MOST_BYTES:
        raise InputError(
            f"{source}: tensor '{value.name}' ({'x'.join(map(str, known))}) takes {size / 2**30:,.0f} GiB, too much to "
            "be meant; correct the sizes that make it"
        )


def _dims(node: oir.Node, index: int) -> Dims:
    """The static shape of an input, None where it is free or there is none."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(value.shape.numpy())


def _conv(node: oir.Node) -> str | None:
    x = node.inputs[0].shape if node.inputs[0] is not None else None
    w = _dims(node, 1)
    group = int_attribute(node, "group", 1)
    if group < 1:
        return f"group is {group}"
    if "auto_pad" in node.attributes and node.attributes["auto_pad"].as_string() not in AUTO_PADS:
        return f"auto_pad is not one of {', '.join(AUTO_PADS)}"
    if x is None or w is None or len(x) != len(w):
        return None
    channels = x[1]
    if (isinstance(channels, int) and channels != w[1] * group) or w[0] % group:
        return f"{channels} channels in {group} groups for weights {list(w)}"
    if "kernel_shape" in node.attributes and tuple(node.attributes["kernel_shape"].as_ints()) != w[2:]:
        return f"kernel_shape is not that of weights {list(w)}"
    return _empty(node)


def _empty(node: oir.Node) -> str | None:
    shape = node.outputs[0].shape
    if shape is not None and any(isinstance(d, int) and d <= 0 for d in shape):
        return f"nothing is left: {[d if isinstance(d, int) else '?' for d in shape]}"
    return None


def _reshape(node: oir.Node) -> str | None:
    source = _dims(node, 0)
    shape = node.outputs[0].shape
    if source is None or shape is None or not shape.is_static():
        return None
    target = tuple(shape.numpy())
    return None if math.prod(source) == math.prod(target) else f"{list(source)} holds other numbers than {list(target)}"


def _gather(node: oir.Node) -> str | None:
    source = _dims(node, 0)
    indices = constant(node.inputs[1])
    if source is None or indices is None or not indices.size or not source:
        return None
    size = source[int_attribute(node, "axis", 0)]
    low = int(indices.min())
    high = int(indices.max())
    return None if -size <= low and high < size else f"index {high if high >= size else low} of {size}"


def _cumsum(node: oir.Node) -> str | None:
    source = _dims(node, 0)
    axis = constant(node.inputs[1])
    if source is None or axis is None or axis.size != 1:
        return None
    return _axis(int(axis.reshape(-1)[0]), len(source))


def _normalization(node: oir.Node) -> str | None:
    source = node.inputs[0].shape if node.inputs[0] is not None else None
    return None if source is None else _axis(int_attribute(node, "axis", -1), len(source))


def _axis(axis: int, rank: int) -> str | None:
    return None if -rank <= axis < rank else f"axis {axis} of {rank} dimensions"


def _range(node: oir.Node) -> str | None:
    bounds = [constant(value) for value in node.inputs]
    if any(bound is None or bound.size != 1 for bound in bounds):
        return None
    start, limit, step = (float(bound.reshape(-1)[0]) for bound in bounds if bound is not None)
    if not step:
        return "its step is 0"
    return "it has too many steps to be meant" if abs(limit - start) / abs(step) > MOST_BYTES / 4 else None


def _clip(node: oir.Node) -> str | None:
    bounds = [dims for index in (1, 2) if (dims := _dims(node, index)) is not None]
    return next((f"a bound has shape {list(dims)}" for dims in bounds if math.prod(dims) != 1), None)


def _einsum(node: oir.Node) -> str | None:
    equation = node.attributes["equation"].as_string().replace(" ", "")
    if not re.fullmatch(r"[A-Za-z.,]+(->[A-Za-z.]*)?", equation):
        return f"'{equation}' is no equation"
    terms = equation.partition("->")[0].split(",")
    if len(terms) != len(node.inputs):
        return f"'{equation}' has {len(terms)} terms for {len(node.inputs)} inputs"
    sizes: dict[str, int] = {}
    for index, term in enumerate(terms):
        dims = _dims(node, index)
        if dims is None or "." in term:
            continue
        if len(term) != len(dims):
            return f"'{term}' is for {len(dims)} dimensions"
        for letter, size in zip(term, dims):
            if 1 not in (size, sizes.get(letter, size)) and sizes.get(letter, size) != size:
                return f"'{letter}' is {sizes[letter]} and {size}"
            sizes[letter] = max(size, sizes.get(letter, 1))
    return None


CHECKS: dict[str, Callable[[oir.Node], str | None]] = {
    "Conv": _conv,
    "Reshape": _reshape,
    "Gather": _gather,
    "CumSum": _cumsum,
    "LayerNormalization": _normalization,
    "RMSNormalization": _normalization,
    "Range": _range,
    "Clip": _clip,
    "Einsum": _einsum,
}
