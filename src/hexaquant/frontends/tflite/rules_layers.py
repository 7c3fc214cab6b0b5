"""Convolutions, products and pools: channels last around ONNX's operators, whose channels are first.

The Transposes are removed by ir/passes/move_transposes.py. Padding is written out where the size is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as oir

from hexaquant.frontends.tflite.call import Call
from hexaquant.frontends.tflite.schema import SAME

SHUFFLED = 1
"""The number of the format of weights that are stored for one kind of kernel."""


def conv_2d(call: Call) -> oir.Value:
    """Weights (out, height, width, in of a group)."""
    x = call.nchw(call.input(0))
    w = call.weight(1, (0, 3, 1, 2))
    group = call.size(x, 1) // max(call.size(w, 1), 1)
    return call.nhwc(call.op("Conv", x, w, call.optional(2), group=group, **_window(call, x, _kernel(call, w))))


def depthwise_conv_2d(call: Call) -> oir.Value:
    """Weights (1, height, width, channels * multiplier)."""
    x = call.nchw(call.input(0))
    w = call.weight(1, (3, 0, 1, 2))
    attributes = _window(call, x, _kernel(call, w))
    return call.nhwc(call.op("Conv", x, w, call.optional(2), group=call.size(x, 1), **attributes))


def conv_3d(call: Call) -> oir.Value:
    """Weights (depth, height, width, in, out)."""
    x = call.op("Transpose", call.input(0), perm=[0, 4, 1, 2, 3])
    w = call.weight(1, (4, 3, 0, 1, 2))
    y = call.op("Conv", x, w, call.optional(2), **_window(call, x, _kernel(call, w)))
    return call.op("Transpose", y, perm=[0, 2, 3, 4, 1])


def transpose_conv(call: Call) -> oir.Value:
    """Inputs: the output's shape, weights (out, height, width, in), x, bias."""
    target = call.array(0)
    sizes = None if target is None else [int(n) for n in target.reshape(-1)[1:3]]
    strides = [int(call.option("stride_h", 1)), int(call.option("stride_w", 1))]
    return transposed_conv(call, (2, 1, 3), strides, call.option("padding") == SAME, sizes)


def transposed_conv(
    call: Call, places: Sequence[int], strides: Sequence[int], same: bool, sizes: Sequence[int] | None
) -> oir.Value:
    """``places``: the inputs that are x, weights (out, height, width, in) and bias; ``sizes``: of the output."""
    x = call.nchw(call.input(places[0]))
    w = call.weight(places[1], (3, 0, 1, 2))
    begins: list[int] = []
    ends: list[int] = []
    extra: list[int] = []
    for axis, (stride, kernel) in enumerate(zip(strides, _kernel(call, w), strict=True)):
        length = call.size(x, 2 + axis)
        whole = (length - 1) * stride + kernel
        out = sizes[axis] if sizes is not None else length * stride if same else whole
        cut = max(whole - out, 0)
        begins.append(cut // 2 if same else 0)
        ends.append(cut - begins[-1])
        extra.append(max(out - whole, 0))
    attributes: dict[str, Any] = {"strides": list(strides), "pads": begins + ends}
    if any(extra):
        attributes["output_padding"] = extra
    return call.nhwc(call.op("ConvTranspose", x, w, call.optional(places[2]), **attributes))


def fully_connected(call: Call) -> oir.Value:
    """Weights (out, in). Without keep_num_dims x is flattened to rows of ``in`` numbers."""
    if call.option("weights_format") == SHUFFLED:
        raise call.refuse("has shuffled weights; convert the model again without them")
    x = call.input(0)
    keep = bool(call.option("keep_num_dims")) and len(call.shape(x)) > 2
    w = call.weight(1, (1, 0) if keep else (0, 1))
    bias = call.optional(2)
    if keep:
        y = call.op("MatMul", x, w)
        return y if bias is None else call.op("Add", y, bias)
    if len(call.shape(x)) != 2 or call.shape(x)[1] != call.size(w, 1):
        x = call.op("Reshape", x, call.const([-1, call.size(w, 1)], "int64"))
    return call.op("Gemm", x, w, bias, transB=1)


def batch_matmul(call: Call) -> oir.Value:
    factors = [call.input(0), call.input(1)]
    for index, name in enumerate(("adj_x", "adj_y")):
        if call.option(name):
            rank = len(call.shape(factors[index]))
            perm = [*range(rank - 2), rank - 1, rank - 2]
            factors[index] = call.op("Transpose", factors[index], perm=perm)
    return call.op("MatMul", *factors)


def max_pool_2d(call: Call) -> oir.Value:
    return _pool(call, "MaxPool", call.nchw(call.input(0)))


def average_pool_2d(call: Call) -> oir.Value:
    """What is padded does not count."""
    return _pool(call, "AveragePool", call.nchw(call.input(0)))


def l2_pool_2d(call: Call) -> oir.Value:
    x = call.nchw(call.input(0))
    return call.op("Sqrt", _pool(call, "AveragePool", call.op("Mul", x, x)))


def _pool(call: Call, op_type: str, x: oir.Value) -> oir.Value:
    kernel = [int(call.option("filter_height", 1)), int(call.option("filter_width", 1))]
    return call.nhwc(call.op(op_type, x, kernel_shape=kernel, **_window(call, x, kernel)))


def _kernel(call: Call, w: oir.Value) -> list[int]:
    return [call.size(w, axis) for axis in range(2, len(call.shape(w)))]


def _window(call: Call, x: oir.Value, kernel: Sequence[int]) -> dict[str, Any]:
    """Strides, dilations and pads of a window that moves over ``x`` (N, C, ...)."""
    names = ("d", "h", "w")[-len(kernel) :]
    strides = [max(int(call.option(f"stride_{name}", 1)), 1) for name in names]
    dilations = [max(int(call.option(f"dilation_{name}", 1)), 1) for name in names]
    attributes: dict[str, Any] = {"strides": strides}
    if max(dilations) > 1:
        attributes["dilations"] = dilations
    sizes = call.shape(x)[2:]
    given = call.option("pads", None)
    if given is not None:
        return {**attributes, "pads": list(given)}
    if call.option("padding") != SAME:
        return attributes
    if None in sizes:
        return {**attributes, "auto_pad": "SAME_UPPER"}
    begins: list[int] = []
    ends: list[int] = []
    for size, length, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        assert size is not None
        total = max((-(-size // stride) - 1) * stride + (length - 1) * dilation + 1 - size, 0)
        begins.append(total // 2)
        ends.append(total - total // 2)
    return {**attributes, "pads": begins + ends}
