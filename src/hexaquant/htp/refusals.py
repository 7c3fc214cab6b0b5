"""Refuses QDQ forms that the provider accepts and then computes wrongly, without a word.

Each was measured on the emulator of release 2.7.0 against onnxruntime's CPU (largest output error in LSB of uint8
and uint16 in parentheses).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as oir

from hexaquant.core.errors import TargetError


def check_silent_errors(model: oir.Model, source: str) -> None:
    """Conditions:

    1. MatMul or Gemm weights with one scale for each *input* channel (24, 10414): scales go by output channel;
    2. an int32 bias whose scale is not input scale x weight scale (74, 21779): the backend ignores the bias' own;
    3. DepthToSpace or SpaceToDepth whose output encoding differs from its input's (37, 9822): values only move;
    4. a 16-bit Max with a scalar of a Min with a scalar (9 dB): they are one Clip (htp/clips.py);
    5. a Clip whose bounds leave zero outside, after Add, Sub or Mul (2 to 14 dB; likewise);
    6. Reciprocal of a quantized input whose range ends at 1 or before (0.5 to 10 dB; htp/form_division.py);
    7. Add of c to a Relu or Clip of what c was subtracted from (4 dB; htp/swap_addends.py);
    8. Reshape of a fully connected layer's F outputs to [., ., ., F, F] (0.5 dB; htp/split_reshape.py);
    9. an 8-bit CumSum along another axis than the last (-9 to -1 dB; htp/form_cumsum.py);
    10. a quantized Gemm of one row of one feature to several: it never returns (htp/form_scalar_layer.py).

    Raises TargetError naming the node.
    """
    for node in model.graph:
        if node.op_type in ("MatMul", "Gemm"):
            _check_weight_axis(node, source)
        if node.op_type in ("Conv", "Gemm", "ConvTranspose") and len(node.inputs) > 2:
            _check_bias_scale(node, source)
        if node.op_type in ("DepthToSpace", "SpaceToDepth"):
            _check_same_encoding(node, source)
        if node.op_type == "Max":
            _check_clip(node, source)
        if node.op_type in CHAINS and (problem := CHAINS[node.op_type](node)):
            raise TargetError(f"{source}: '{node.name}' ({node.op_type}) {problem}")


def _check_weight_axis(node: oir.Node, source: str) -> None:
    quantize = _producer(node.inputs[1], "DequantizeLinear")
    if quantize is None or "block_size" in quantize.attributes or _numbers(quantize.inputs[1]).size <= 1:
        return
    weight = quantize.inputs[0]
    if weight is None or weight.shape is None:
        return
    rank = len(weight.shape)
    axis = quantize.attributes.get_int("axis", 1) % rank
    transposed = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
    if axis != (rank - 2 if transposed else rank - 1):
        raise TargetError(
            f"{source}: the weight of '{node.name}' ({node.op_type}) has one scale for each index of axis {axis}, "
            "which the target computes wrongly: give one scale for each output channel or one for the tensor"
        )


def _check_bias_scale(node: oir.Node, source: str) -> None:
    quantizers = [_producer(node.inputs[index], "DequantizeLinear") for index in range(3)]
    if any(q is None for q in quantizers):
        return
    data, weight, bias = (_numbers(q.inputs[1]) for q in quantizers if q is not None)
    if not data.size or not weight.size or not bias.size:
        return
    expected = data.astype(np.float64).ravel()[:1] * weight.astype(np.float64).ravel()
    given = bias.astype(np.float64).ravel()
    fits = given.size in (1, expected.size) or expected.size == 1
    if not fits or not np.allclose(given, expected, rtol=1e-3):
        raise TargetError(
            f"{source}: the bias of '{node.name}' ({node.op_type}) is not quantized with input scale x weight scale, "
            "which the target assumes: requantize it so"
        )


def _check_same_encoding(node: oir.Node, source: str) -> None:
    before = _producer(node.inputs[0], "DequantizeLinear")
    after = next((user for user, _ in node.outputs[0].uses() if user.op_type == "QuantizeLinear"), None)
    if before is None or after is None:
        return
    same = all(np.array_equal(_numbers(a), _numbers(b)) for a, b in zip(before.inputs[1:3], after.inputs[1:3]))
    if not same:
        raise TargetError(
            f"{source}: '{node.name}' ({node.op_type}) has another encoding at its output than at its input, which "
            "the target computes wrongly: give both the same"
        )


def _check_clip(node: oir.Node, source: str) -> None:
    inner = next((found for value in node.inputs if (found := _before_qdq(value, "Min")) is not None), None)
    if inner is None or not (_has_scalar(node) and _has_scalar(inner)):
        return
    if node.inputs[0] is not None and _zero_point_bits(node.inputs[0]) == 16:
        raise TargetError(
            f"{source}: '{node.name}' (Max) clips what '{inner.name}' (Min) has clipped, which the target computes "
            "wrongly in 16 bits: write both as one Clip"
        )


def _before_qdq(value: oir.Value | None, op: str) -> oir.Node | None:
    dequantize = _producer(value, "DequantizeLinear")
    quantize = None if dequantize is None else _producer(dequantize.inputs[0], "QuantizeLinear")
    return None if quantize is None else _producer(quantize.inputs[0], op)


def _has_scalar(node: oir.Node) -> bool:
    stored = [_producer(value, "DequantizeLinear") for value in node.inputs]
    return any(q is not None and _numbers(q.inputs[0]).size == 1 for q in stored)


def _zero_point_bits(value: oir.Value) -> int:
    dequantize = _producer(value, "DequantizeLinear")
    zero_point = None if dequantize is None or len(dequantize.inputs) < 3 else dequantize.inputs[2]
    return 0 if zero_point is None or zero_point.dtype is None else int(zero_point.dtype.bitwidth)


def _clip_beside_zero(node: oir.Node) -> str:
    before, bounds = _behind(node.inputs[0]), [_bound(value) for value in (*node.inputs[1:3], None, None)[:2]]
    beside = (bounds[0] is not None and bounds[0] > 0) or (bounds[1] is not None and bounds[1] < 0)
    if not beside or before is None or before.op_type not in ("Add", "Sub", "Mul"):
        return ""
    return (
        f"has bounds that leave zero outside, and follows '{before.name}' ({before.op_type}), which the target "
        "computes wrongly: write it as a Min of a Max"
    )


def _bound(value: oir.Value | None) -> float | None:
    """A scalar constant, quantized or not."""
    dequantize = _producer(value, "DequantizeLinear")
    numbers = _numbers(value) if dequantize is None else _dequantized(dequantize)
    return float(numbers.reshape(-1)[0]) if numbers.size == 1 else None


def _dequantized(node: oir.Node) -> np.ndarray:
    stored, scale, zero = (_numbers(value).astype(np.float64) for value in (*node.inputs, None)[:3])
    return (stored - (zero if zero.size else 0.0)) * scale if stored.size and scale.size else np.empty(0)


def _range(value: oir.Value | None) -> tuple[float, float] | None:
    """What the 8 or 16 bits of a quantized value with one scale can hold."""
    dequantize = _producer(value, "DequantizeLinear")
    if dequantize is None or len(dequantize.inputs) < 3:
        return None
    scale, zero = (_numbers(v) for v in dequantize.inputs[1:3])
    if scale.size != 1 or zero.size != 1 or zero.dtype not in (np.uint8, np.int8, np.uint16, np.int16):
        return None
    ends, step, offset = np.iinfo(zero.dtype), float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0])
    return (ends.min - offset) * step, (ends.max - offset) * step


def _small_reciprocal(node: oir.Node) -> str:
    held = _range(node.inputs[0])
    if held is None or max(abs(held[0]), abs(held[1])) > 1:
        return ""
    return "has an input that stays below 1, which the target computes wrongly: write it as Div of 1 by the input"


def _undone_difference(node: oir.Node) -> str:
    """An activation may also be no more than the end of its output's range."""
    before, held = _behind(node.inputs[0]), _range(node.inputs[0])
    clips = before is not None and (before.op_type in ("Relu", "Clip") or (held is not None and 0.0 in held))
    difference = _behind(before.inputs[0]) if before is not None and before.op_type in ("Relu", "Clip") else before
    if not clips or difference is None or difference.op_type != "Sub":
        return ""
    if _root(difference.inputs[1]) is not _root(node.inputs[1]):
        return ""
    return (
        f"adds what '{difference.name}' (Sub) subtracted before an activation, which the target computes wrongly: swap "
        "its operands"
    )


def _squares(node: oir.Node) -> str:
    before, wanted = _behind(node.inputs[0]), _numbers(node.inputs[1]).reshape(-1)
    if before is not None and before.op_type in ("Relu", "Clip"):
        before = _behind(before.inputs[0])
    if before is None or before.op_type not in ("Gemm", "MatMul") or len(wanted) != 5:
        return ""
    weight = _root(before.inputs[1])
    features = 0 if weight is None or weight.const_value is None else _features(before, weight)
    if not features or wanted[-1] != features or wanted[-2] != features:
        return ""
    return (
        f"cuts what '{before.name}' ({before.op_type}) computes into squares, which the target computes wrongly: "
        "flatten it first"
    )


def _features(node: oir.Node, weight: oir.Value) -> int:
    """Outputs of a fully connected layer with a weight of rank 2, otherwise 0."""
    shape = _numbers(weight).shape
    is_transposed = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
    return 0 if len(shape) != 2 else shape[0] if is_transposed else shape[1]


def _turned_sum(node: oir.Node) -> str:
    data, axis = node.inputs[0], _numbers(node.inputs[1]).reshape(-1)
    if data is None or data.shape is None or len(axis) != 1 or _zero_point_bits(data) != 8:
        return ""
    index = int(axis[0]) % len(data.shape)
    if index == len(data.shape) - 1 or data.shape[index] == 1:
        return ""
    return "sums along another axis than the last one, which the target computes wrongly in 8 bits: transpose around it"


def _lone_feature(node: oir.Node) -> str:
    data, weight = node.inputs[0], _root(node.inputs[1])
    is_lone = data is not None and data.shape is not None and tuple(data.shape) == (1, 1)
    if not is_lone or _zero_point_bits(data) == 0 or weight is None or _features(node, weight) < 2:  # type: ignore
        return ""
    return "reads one row of one feature, which Qualcomm's libraries never come back from: write it as a 1x1 Conv"


CHAINS: dict[str, Callable[[oir.Node], str]] = {
    "Clip": _clip_beside_zero,
    "Reciprocal": _small_reciprocal,
    "Add": _undone_difference,
    "Reshape": _squares,
    "CumSum": _turned_sum,
    "Gemm": _lone_feature,
}
"""Operator -> what is wrong with a node of it, or nothing."""


def _root(value: oir.Value | None) -> oir.Value | None:
    """The value before its quantize nodes; of a stored constant the integers."""
    while True:
        node = None if value is None else value.producer()
        if node is None or node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            return value
        value = node.inputs[0]


def _behind(value: oir.Value | None) -> oir.Node | None:
    """The operator that computes ``value``, seen through quantize nodes."""
    root = _root(value)
    return None if root is None else root.producer()


def _producer(value: oir.Value | None, op: str) -> oir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op else None


def _numbers(value: oir.Value | None) -> np.ndarray:
    if value is None or value.const_value is None:
        return np.empty(0)
    return value.const_value.numpy()
