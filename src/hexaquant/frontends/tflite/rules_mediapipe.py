"""MediaPipe's own operators, as its public documentation of the networks and its float kernels define them.

Convolution2DTransposeBias: a transposed convolution with a bias. MaxPoolingWithArgmax2D: the largest of each window and
its place within the window. MaxUnpooling2D: every number at that place of its window, zero elsewhere.
Those of landmarks are in rules_landmarks.py.
"""

from __future__ import annotations

import struct

import numpy as np
import onnx_ir as oir

from hexaquant.frontends.tflite.call import Call
from hexaquant.frontends.tflite.rules_layers import transposed_conv

SAME = 1
"""TensorFlow Lite's padding in C structures (0 is unknown, 2 is valid); files of old converters hold it so."""


def _parameters(call: Call, count: int) -> list[int]:
    """The first ``count`` 32-bit integers of the operator's raw parameters."""
    raw = call.operator.custom or b""
    if len(raw) < 4 * count:
        raise call.refuse(f"has {len(raw)} bytes of parameters, {4 * count} are needed; convert the model again")
    return list(struct.unpack_from(f"<{count}i", raw))


def transpose_conv_bias(call: Call) -> oir.Value:
    """Inputs: x, weights (out, height, width, in), bias. Parameters: padding, stride of the width, of the height."""
    padding, width, height = _parameters(call, 3)
    return transposed_conv(call, (0, 1, 2), [height, width], padding == SAME, None)


def _tiling(call: Call) -> tuple[int, int]:
    """Height and width of windows that tile the image. Raises UnsupportedOpError for windows that overlap."""
    _, stride_w, stride_h, width, height = _parameters(call, 5)
    if (stride_h, stride_w) != (height, width):
        raise call.refuse(
            f"has windows of {height}x{width} at steps of {stride_h}x{stride_w}; only tiles are supported"
        )
    return height, width


def _windows(call: Call, x: oir.Value, height: int, width: int) -> oir.Value:
    """(N, H, W, C) as (N, H / height, W / width, height * width, C)."""
    n, h, w, c = call.shape(x)
    if h is None or w is None or c is None or h % height or w % width:
        raise call.refuse(f"pools {h}x{w} in windows of {height}x{width}, which do not tile it")
    rows = -1 if n is None else n
    parts = call.op("Reshape", x, call.const([rows, h // height, height, w // width, width * c], "int64"))
    moved = call.op("Transpose", parts, perm=[0, 1, 3, 2, 4])
    return call.op("Reshape", moved, call.const([rows, h // height, w // width, height * width, c], "int64"))


def max_pool_argmax(call: Call) -> list[oir.Value]:
    height, width = _tiling(call)
    windows = _windows(call, call.input(0), height, width)
    largest = call.op("ReduceMax", windows, call.const([3], "int64"), keepdims=0)
    place = call.op("ArgMax", windows, axis=3, keepdims=0)
    return [largest, call.op("Cast", place, to=oir.DataType.FLOAT)]


def max_unpool(call: Call) -> oir.Value:
    """Inputs: numbers, their places (as MaxPoolingWithArgmax2D gives them)."""
    height, width = _tiling(call)
    x = call.input(0)
    n, h, w, c = call.shape(x)
    axis = call.const([3], "int64")
    places = call.op("Unsqueeze", call.op("Floor", call.input(1)), axis)
    wanted = call.const(np.arange(height * width).reshape(1, 1, 1, -1, 1))
    here = call.op("Cast", call.op("Equal", places, wanted), to=oir.DataType.FLOAT)
    spread = call.op("Mul", call.op("Unsqueeze", x, axis), here)
    if h is None or w is None or c is None:
        raise call.refuse("needs to know the size of its input; give the network's shape with --shape")
    rows = -1 if n is None else n
    parts = call.op("Reshape", spread, call.const([rows, h, w, height, width * c], "int64"))
    moved = call.op("Transpose", parts, perm=[0, 1, 3, 2, 4])
    return call.op("Reshape", moved, call.const([rows, h * height, w * width, c], "int64"))
