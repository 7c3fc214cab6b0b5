"""Refuses QDQ forms that the provider accepts and then computes wrongly, without a word.

Each was measured on the emulator of release 2.7.0 against onnxruntime's CPU (largest output error in LSB of uint8
and uint16 in parentheses).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.core.errors import TargetError


def check_silent_errors(model: oir.Model, source: str) -> None:
    """Conditions:

    1. MatMul or Gemm weights with one scale for each *input* channel (24, 10414): scales go by output channel;
    2. an int32 bias whose scale is not input scale x weight scale (74, 21779): the backend ignores the bias' own;
    3. DepthToSpace or SpaceToDepth whose output encoding differs from its input's (37, 9822): values only move;
    4. a 16-bit Max with a scalar of a Min with a scalar (9 dB): they are one Clip (transforms/form_clip.py).

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


def _producer(value: oir.Value | None, op: str) -> oir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op else None


def _numbers(value: oir.Value | None) -> np.ndarray:
    if value is None or value.const_value is None:
        return np.empty(0)
    return value.const_value.numpy()
