"""Resizing, and space to batch and back."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.frontends.tflite.call import Call


def resize_bilinear(call: Call) -> oir.Value:
    return _resized(call, "linear")


def resize_nearest(call: Call) -> oir.Value:
    return _resized(call, "nearest")


def _resized(call: Call, mode: str) -> oir.Value:
    """Input 1: height and width. Positions as TensorFlow takes them:

    align_corners: x * (in - 1) / (out - 1), to the nearest; half_pixel_centers: (x + 0.5) * in / out, whose floor is
    the nearest; else x * in / out, whose floor is the nearest.
    """
    rounding = "floor"
    positions = "asymmetric"
    if call.option("align_corners"):
        positions = "align_corners"
        rounding = "round_prefer_ceil"
    elif call.option("half_pixel_centers"):
        # the floor of (x + 0.5) s is the rounding up of (x + 0.5) s - 0.5, ONNX's position
        positions = "half_pixel"
        rounding = "round_prefer_ceil"
    attributes = {"mode": mode, "coordinate_transformation_mode": positions}
    if mode == "nearest":
        attributes["nearest_mode"] = rounding
    x = call.nchw(call.input(0))
    return call.nhwc(call.op("Resize", x, None, None, _sizes(call, x), **attributes))


def _sizes(call: Call, x: oir.Value) -> oir.Value:
    """(N, C, height, width), the first two read off ``x`` where they are free."""
    sizes = call.ints(1)
    known = call.shape(x)[:2]
    if None not in known:
        return call.const([*known, *sizes], "int64")
    return call.op("Concat", call.op("Shape", x, end=2), call.const(sizes, "int64"), axis=0)


def space_to_batch(call: Call) -> oir.Value:
    """Inputs: x (N, H, W, C), block sizes, (2, 2) paddings: pieces of the image become a batch."""
    blocks = call.ints(1)
    pairs = np.array(call.ints(2), np.int64).reshape(-1, 2)
    x = call.input(0)
    around = np.zeros((len(call.shape(x)), 2), np.int64)
    around[1 : 1 + len(blocks)] = pairs
    padded = call.op("Pad", x, call.const(around.T.reshape(-1), "int64"))
    n = call.size(padded, 0)
    rest = [call.size(padded, axis) for axis in range(1, len(call.shape(padded)))]
    spatial = rest[: len(blocks)]
    depth = rest[len(blocks) :]
    parts = [d for size, block in zip(spatial, blocks, strict=True) for d in (size // block, block)]
    split = call.op("Reshape", padded, call.const([n, *parts, *depth], "int64"))
    order = [2 + 2 * i for i in range(len(blocks))]
    places = [1 + 2 * i for i in range(len(blocks))]
    last = list(range(1 + 2 * len(blocks), 1 + 2 * len(blocks) + len(depth)))
    moved = call.op("Transpose", split, perm=[*order, 0, *places, *last])
    small = [size // block for size, block in zip(spatial, blocks, strict=True)]
    return call.op("Reshape", moved, call.const([n * int(np.prod(blocks)), *small, *depth], "int64"))


def batch_to_space(call: Call) -> oir.Value:
    """Inputs: x, block sizes, (2, 2) crops: the inverse of :func:`space_to_batch`."""
    blocks = call.ints(1)
    crops = np.array(call.ints(2), np.int64).reshape(-1, 2)
    x = call.input(0)
    dims = [call.size(x, axis) for axis in range(len(call.shape(x)))]
    count = len(blocks)
    n = dims[0] // int(np.prod(blocks))
    spatial = dims[1 : 1 + count]
    depth = dims[1 + count :]
    split = call.op("Reshape", x, call.const([*blocks, n, *spatial, *depth], "int64"))
    pairs = [axis for i in range(count) for axis in (count + 1 + i, i)]
    last = list(range(2 * count + 1, 2 * count + 1 + len(depth)))
    moved = call.op("Transpose", split, perm=[count, *pairs, *last])
    large = [size * block for size, block in zip(spatial, blocks, strict=True)]
    whole = call.op("Reshape", moved, call.const([n, *large, *depth], "int64"))
    if not crops.any():
        return whole
    starts = [int(crop[0]) for crop in crops]
    ends = [size - int(crop[1]) for size, crop in zip(large, crops, strict=True)]
    axes = list(range(1, 1 + count))
    return call.op("Slice", whole, *(call.const(part, "int64") for part in (starts, ends, axes)))
