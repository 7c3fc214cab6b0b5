"""MediaPipe's operators of landmarks, version 2: a crop around some of them, sampled, and points brought back.

The matrix T maps pixels of the crop to pixels of the image: a shift by minus half the crop, the scale from the crop to
the box around the landmarks (in the frame turned by r), a rotation by -r, a shift to the middle of the box. With theta
the angle from the left to the right landmark, r = target - theta; cos theta and sin theta are dx and dy over the
distance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as oir

from hexaquant.frontends.tflite.call import Call
from hexaquant.frontends.tflite.flexbuffer import Found, read_map


def _options(call: Call) -> Mapping[str, Found]:
    return read_map(call.operator.custom or b"")


def _number(call: Call, options: Mapping[str, Found], name: str) -> float:
    found = options.get(name)
    if not isinstance(found, float):
        raise call.refuse(f"has no option '{name}', which version 2 of the operator has; convert the model again")
    return found


def transform_matrix(call: Call) -> oir.Value:
    """Landmarks (1, n, 3) -> T (1, 4, 4)."""
    options = _options(call)
    subset = options.get("subset_idxs")
    if not isinstance(subset, list) or call.tensor(0).shape[-1] != 3:
        raise call.refuse("has no list of landmarks of 3 coordinates; only version 2 of the operator is supported")
    ends = [int(_number(call, options, f"{side}_rotation_idx")) for side in ("left", "right")]
    cosine, sine = _turn(call, ends, float(_number(call, options, "target_rotation_radians")))
    points = call.op("Gather", call.input(0), call.const([int(i) for i in subset], "int64"), axis=1)
    x, y = (call.op("Gather", points, call.const(axis, "int64"), axis=2) for axis in (0, 1))
    turned = [
        call.op("Sub", call.op("Mul", x, cosine), call.op("Mul", y, sine)),
        call.op("Add", call.op("Mul", x, sine), call.op("Mul", y, cosine)),
    ]
    axis = call.const([1], "int64")
    high, low = ([call.op(kind, part, axis, keepdims=1) for part in turned] for kind in ("ReduceMax", "ReduceMin"))
    middle = [call.op("Mul", call.op("Add", a, b), call.const(0.5)) for a, b in zip(high, low, strict=True)]
    size = [call.op("Sub", a, b) for a, b in zip(high, low, strict=True)]
    return _matrix(call, options, (cosine, sine), middle, size)


def _turn(call: Call, ends: list[int], target: float) -> tuple[oir.Value, oir.Value]:
    """Cosine and sine (1, 1) of r."""
    left, right = (call.op("Gather", call.input(0), call.const([i], "int64"), axis=1) for i in ends)
    step = call.op("Sub", right, left)
    dx, dy = (call.op("Gather", step, call.const(axis, "int64"), axis=2) for axis in (0, 1))
    squares = call.op("Add", call.op("Mul", dx, dx), call.op("Mul", dy, dy))
    length = call.op("Sqrt", squares)
    c, s = call.op("Div", dx, length), call.op("Div", dy, length)
    if target == 0:
        return c, call.op("Neg", s)
    at, along = call.const(math.cos(target)), call.const(math.sin(target))
    cosine = call.op("Add", call.op("Mul", c, at), call.op("Mul", s, along))
    return cosine, call.op("Sub", call.op("Mul", c, along), call.op("Mul", s, at))


def _matrix(
    call: Call,
    options: Mapping[str, Found],
    turn: tuple[oir.Value, oir.Value],
    middle: list[oir.Value],
    size: list[oir.Value],
) -> oir.Value:
    """T from the rotation, and the middle and the size of the box in the turned frame, each (1, 1)."""
    cosine, sine = turn
    width, height = (_number(call, options, f"output_{name}") for name in ("width", "height"))
    scales = [
        call.op("Mul", part, call.const(_number(call, options, f"scale_{name}") / length))
        for part, name, length in zip(size, "xy", (width, height), strict=True)
    ]
    back = [
        call.op("Add", call.op("Mul", middle[0], cosine), call.op("Mul", middle[1], sine)),
        call.op("Sub", call.op("Mul", middle[1], cosine), call.op("Mul", middle[0], sine)),
    ]
    rows = [
        (call.op("Mul", cosine, scales[0]), call.op("Mul", sine, scales[1])),
        (call.op("Neg", call.op("Mul", sine, scales[0])), call.op("Mul", cosine, scales[1])),
    ]
    zero = call.const([[0.0]])
    parts = []
    for (along_x, along_y), start in zip(rows, back, strict=True):
        half = call.op("Mul", along_x, call.const(width / 2)), call.op("Mul", along_y, call.const(height / 2))
        parts += [along_x, along_y, zero, call.op("Sub", call.op("Sub", start, half[0]), half[1])]
    top = call.op("Reshape", call.op("Concat", *parts, axis=1), call.const([1, 2, 4], "int64"))
    return call.op("Concat", top, call.const([[[0, 0, 1, 0], [0, 0, 0, 1]]]), axis=1)


def transform_tensor(call: Call) -> oir.Value:
    """A map (1, H, W, C) and T (1, 4, 4) -> (1, h, w, C): bilinear at T (x + 0.5, y + 0.5) - 0.5, zero outside.

    Points outside are zero here as soon as they are one pixel outside; between they fade.
    """
    options = _options(call)
    width, height = (int(_number(call, options, f"output_{name}")) for name in ("width", "height"))
    image = call.nchw(call.input(0))
    sizes = [call.size(image, 3), call.size(image, 2)]
    if min(sizes) < 2:
        raise call.refuse("samples a map of one row or column, which is not supported")
    places = [[x + 0.5, y + 0.5, 0.0, 1.0] for y in range(height) for x in range(width)]
    rows = call.op("Slice", call.input(1), *(call.const(part, "int64") for part in ([0], [2], [1])))
    points = call.op("MatMul", call.const(places), call.op("Transpose", rows, perm=[0, 2, 1]))
    # pixels to -1..1: the corners of the map are the middles of its corner pixels
    factors = [2 / (size - 1) for size in sizes]
    scaled = call.op("Mul", points, call.const(factors))
    normal = call.op("Sub", scaled, call.const([1 + 0.5 * factor for factor in factors]))
    grid = call.op("Reshape", normal, call.const([1, height, width, 2], "int64"))
    return call.nhwc(call.op("GridSample", image, grid, align_corners=1, mode="linear", padding_mode="zeros"))


def transform_landmarks(call: Call) -> oir.Value:
    """Landmarks (1, n, 2 or 3) and T (1, 4, 4): x and y through the first two rows of T, z as it is."""
    points = call.input(0)
    dims = call.shape(points)
    if len(dims) != 3 or dims[2] not in (2, 3):
        raise call.refuse(f"has landmarks of the shape {dims}; only version 2 of the operator is supported")
    xy = call.op("Slice", points, *(call.const(part, "int64") for part in ([0], [2], [2])))
    rows = call.op("Slice", call.input(1), *(call.const(part, "int64") for part in ([0], [2], [1])))
    turn = call.op("Slice", rows, *(call.const(part, "int64") for part in ([0], [2], [2])))
    shift = call.op("Slice", rows, *(call.const(part, "int64") for part in ([3], [4], [2])))
    moved = call.op("MatMul", xy, call.op("Transpose", turn, perm=[0, 2, 1]))
    placed = call.op("Add", moved, call.op("Transpose", shift, perm=[0, 2, 1]))
    if dims[2] == 2:
        return placed
    z = call.op("Slice", points, *(call.const(part, "int64") for part in ([2], [3], [2])))
    return call.op("Concat", placed, z, axis=2)
