"""Operators that only move elements, or make constants of shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as oir

from hexaquant.frontends.tflite.call import Call

FAR = np.iinfo(np.int64).max
"""An end beyond every axis."""


def reshape(call: Call) -> oir.Value:
    if call.has(1):
        return call.op("Reshape", call.input(0), call.int64(1))
    return call.op("Reshape", call.input(0), call.const(list(call.option("new_shape", ())), "int64"))


def squeeze(call: Call) -> oir.Value:
    axes = list(call.option("squeeze_dims", ()))
    return call.op("Squeeze", call.input(0), call.const(axes, "int64") if axes else None)


def expand_dims(call: Call) -> oir.Value:
    return call.op("Unsqueeze", call.input(0), call.const(call.ints(1)[:1], "int64"))


def transpose(call: Call) -> oir.Value:
    return call.op("Transpose", call.input(0), perm=call.ints(1))


def concatenation(call: Call) -> oir.Value:
    return call.op("Concat", *(call.input(i) for i in range(call.count)), axis=int(call.option("axis")))


def pack(call: Call) -> oir.Value:
    axis = int(call.option("axis"))
    place = call.const([axis], "int64")
    parts = [call.op("Unsqueeze", call.input(i), place) for i in range(call.count)]
    return call.op("Concat", *parts, axis=axis)


def unpack(call: Call) -> list[oir.Value]:
    axis = int(call.option("axis"))
    count = len(call.operator.outputs)
    place = call.const([axis], "int64")
    parts = _parts(call, call.input(0), axis, [1] * count)
    return [call.op("Squeeze", part, place) for part in parts]


def split(call: Call) -> list[oir.Value]:
    """Input 0 is the axis; the parts are equal."""
    axis = call.ints(0)[0]
    x = call.input(1)
    count = len(call.operator.outputs)
    return _parts(call, x, axis, [call.size(x, axis) // count] * count)


def split_v(call: Call) -> list[oir.Value]:
    """Inputs: x, the sizes of the parts (one may be -1: the rest), the axis."""
    sizes = call.ints(1)
    axis = call.ints(2)[0]
    x = call.input(0)
    if -1 in sizes:
        sizes[sizes.index(-1)] = call.size(x, axis) - sum(size for size in sizes if size != -1)
    return _parts(call, x, axis, sizes)


def _parts(call: Call, x: oir.Value, axis: int, sizes: Sequence[int]) -> list[oir.Value]:
    if len(sizes) == 1:
        return [call.op("Identity", x)]
    return call.writer.ops("Split", [x, call.const(list(sizes), "int64")], len(sizes), axis=axis)


def slice_(call: Call) -> oir.Value:
    """Inputs: x, where the piece begins, its size (-1: to the end)."""
    begins = call.array(1)
    sizes = call.array(2)
    if begins is None or sizes is None:
        ends = call.op("Add", call.int64(1), call.int64(2))
        return call.op("Slice", call.input(0), call.int64(1), ends)
    starts = [int(b) for b in begins.reshape(-1)]
    ends_ = [FAR if size == -1 else b + int(size) for b, size in zip(starts, sizes.reshape(-1), strict=True)]
    return call.op("Slice", call.input(0), call.const(starts, "int64"), call.const(ends_, "int64"))


def strided_slice(call: Call) -> oir.Value:
    """Inputs: x, begins, ends, strides; the bits of the masks say what is left out, added and dropped."""
    x = call.input(0)
    begins, ends, strides = (call.ints(i) for i in (1, 2, 3))
    masks = {name: int(call.option(f"{name}_mask")) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    rank = len(call.shape(x))
    added = [i for i in range(len(begins)) if masks["new_axis"] >> i & 1 and not masks["ellipsis"] >> i & 1]
    ellipsis = next((i for i in range(len(begins)) if masks["ellipsis"] >> i & 1), None)
    width = rank - (len(begins) - len(added) - (ellipsis is not None))
    starts: list[int] = []
    stops: list[int] = []
    steps: list[int] = []
    axes: list[int] = []
    dropped: list[int] = []
    new: list[int] = []
    axis = 0
    place = 0
    for i in range(len(begins)):
        if i == ellipsis:
            axis += width
            place += width
        elif i in added:
            new.append(place)
            place += 1
        else:
            shrink = bool(masks["shrink_axis"] >> i & 1)
            step = 1 if shrink else strides[i]
            first = (0 if step > 0 else FAR) if masks["begin"] >> i & 1 and not shrink else begins[i]
            last = (FAR if step > 0 else -FAR) if masks["end"] >> i & 1 else ends[i]
            if shrink:
                last = first + 1 if first != -1 else FAR
                dropped.append(axis)
            elif call.option("offset"):
                last = first + ends[i]
            if (first, last, step) != (0, FAR, 1):
                axes.append(axis)
                starts.append(first)
                stops.append(last)
                steps.append(step)
            place += not shrink
            axis += 1
    return _sliced(call, x, (starts, stops, axes, steps), dropped, new)


def _sliced(
    call: Call, x: oir.Value, parts: Sequence[Sequence[int]], dropped: Sequence[int], new: Sequence[int]
) -> oir.Value:
    if parts[0]:
        x = call.op("Slice", x, *(call.const(list(part), "int64") for part in parts))
    if dropped:
        x = call.op("Squeeze", x, call.const(list(dropped), "int64"))
    return call.op("Unsqueeze", x, call.const(list(new), "int64")) if new else x


def gather(call: Call) -> oir.Value:
    axis = int(call.option("axis"))
    batch = int(call.option("batch_dims"))
    if not batch:
        return call.op("Gather", call.input(0), call.input(1), axis=axis)
    rank = len(call.shape(call.input(0)))
    if batch == rank - 1 == axis % rank and len(call.shape(call.input(1))) == rank:
        return call.op("GatherElements", call.input(0), call.int64(1), axis=axis)
    if batch == axis % rank:
        places = call.op("Unsqueeze", call.int64(1), call.const([-1], "int64"))
        return call.op("GatherND", call.input(0), places, batch_dims=batch)
    raise call.refuse(f"gathers along axis {axis} for {batch} batch axes, which is not supported")


def gather_nd(call: Call) -> oir.Value:
    return call.op("GatherND", call.input(0), call.int64(1))


def embedding_lookup(call: Call) -> oir.Value:
    """Inputs: the rows to take, the table."""
    return call.op("Gather", call.input(1), call.input(0), axis=0)


def tile(call: Call) -> oir.Value:
    return call.op("Tile", call.input(0), call.int64(1))


def broadcast_to(call: Call) -> oir.Value:
    return call.op("Expand", call.input(0), call.int64(1))


def fill(call: Call) -> oir.Value:
    """Inputs: the shape, the number."""
    return call.op("Expand", call.input(1), call.int64(0))


def pad(call: Call) -> oir.Value:
    """Inputs: x, (axes, 2) paddings, the number to pad with (PADV2)."""
    x = call.input(0)
    filling = call.optional(2)
    return call.op("Pad", x, _pads(call), *([] if filling is None else [filling]))


def _pads(call: Call) -> oir.Value:
    pairs = np.array(call.ints(1), np.int64).reshape(-1, 2)
    return call.const(pairs.T.reshape(-1), "int64")


def mirror_pad(call: Call) -> oir.Value:
    """REFLECT (mode 0) is ONNX's reflect. SYMMETRIC repeats the border, which for a pad of 1 is ONNX's edge."""
    if not call.option("mode"):
        return call.op("Pad", call.input(0), _pads(call), mode="reflect")
    if max(call.ints(1)) > 1:
        raise call.refuse("pads symmetrically by more than 1, which has no counterpart in ONNX; use REFLECT")
    return call.op("Pad", call.input(0), _pads(call), mode="edge")


def reverse(call: Call) -> oir.Value:
    axes = call.ints(1)
    parts = ([-1] * len(axes), [-FAR] * len(axes), axes, [-1] * len(axes))
    return call.op("Slice", call.input(0), *(call.const(part, "int64") for part in parts))


def depth_to_space(call: Call) -> oir.Value:
    return call.nhwc(
        call.op("DepthToSpace", call.nchw(call.input(0)), blocksize=int(call.option("block_size")), mode="DCR")
    )


def space_to_depth(call: Call) -> oir.Value:
    return call.nhwc(call.op("SpaceToDepth", call.nchw(call.input(0)), blocksize=int(call.option("block_size"))))


def one_hot(call: Call) -> oir.Value:
    """Inputs: places, depth, the number for on, for off."""
    ends = [call.op("Reshape", call.input(i), call.const([1], "int64")) for i in (3, 2)]
    values = call.op("Concat", *ends, axis=0)
    return call.op(
        "OneHot", call.int64(0), call.const(call.ints(1)[0], "int64"), values, axis=int(call.option("axis", -1))
    )


def shape(call: Call) -> oir.Value:
    kind = call.output().kind
    found = call.op("Shape", call.input(0))
    return found if kind == "int64" else call.op("Cast", found, to=oir.DataType.from_numpy(np.dtype(kind)))


def rank(call: Call) -> oir.Value:
    return call.const(len(call.shape(call.input(0))), call.output().kind)


def range_(call: Call) -> oir.Value:
    return call.op("Range", *(call.input(i) for i in range(3)))


def scatter_nd(call: Call) -> oir.Value:
    """Inputs: places, updates, the shape; what falls on one place is added."""
    zero = call.const(0, np.dtype(call.output().kind) if call.output().quantization is None else np.float32)
    zeros = call.op("Expand", zero, call.int64(2))
    return call.op("ScatterND", zeros, call.int64(0), call.input(1), reduction="add")
