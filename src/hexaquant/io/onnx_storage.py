"""Encodings in ONNX terms: typed zero points, storage integers, full-rank block scales; and back.

ONNX: ``x ~ (y - zero_point) * scale``. On the unsigned grid zero_point = -offset; stored signed, zero point and
integers are both 2^(bits-1) lower. This is the only place (with encodings_v2) that knows the difference.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as oir
import torch

from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import EncodingError
from hexaquant.core.grid import Granularity, Grid, Lpbq, PerBlock, PerChannel, PerTensor
from hexaquant.io.encodings_v2 import as_rows, at_rank

Array = npt.NDArray[Any]

NUMPY_TYPES: dict[tuple[int, bool], Any] = {
    (4, True): ml_dtypes.int4,
    (4, False): ml_dtypes.uint4,
    (8, True): np.int8,
    (8, False): np.uint8,
    (16, True): np.int16,
    (16, False): np.uint16,
    (32, True): np.int32,
}
"""(bits, signed) -> the numpy type of ONNX opset 21's DequantizeLinear input."""

GRIDS: dict[oir.DataType, tuple[int, bool]] = {
    oir.DataType.INT4: (4, True),
    oir.DataType.UINT4: (4, False),
    oir.DataType.INT8: (8, True),
    oir.DataType.UINT8: (8, False),
    oir.DataType.INT16: (16, True),
    oir.DataType.UINT16: (16, False),
    oir.DataType.INT32: (32, True),
}
"""ONNX type -> (bits, signed)."""


def numpy_type(grid: Grid, name: str) -> Any:
    """The storage type of ``grid``. Raises EncodingError when opset 21 has none (2, 3, 5, 12 ... bits)."""
    if (grid.bits, grid.signed) not in NUMPY_TYPES:
        raise EncodingError(f"'{name}': ONNX cannot store {grid}; use 4, 8 or 16 bits (32 for a bias)")
    return NUMPY_TYPES[grid.bits, grid.signed]


def tensor_of(array: Array, name: str) -> oir.Tensor:
    """An onnx_ir tensor of a numpy array, int4 included (packed when the file is written)."""
    return oir.Tensor(np.ascontiguousarray(array) if array.ndim else array, name=name)


def _half(grid: Grid) -> int:
    return 2 ** (grid.bits - 1) if grid.signed else 0


def zero_point(encoding: Encoding, name: str) -> Array:
    """Zero point in the storage type, in the encoding's stored shape."""
    values = -encoding.offset.double().numpy() - _half(encoding.grid)
    kind = numpy_type(encoding.grid, name)
    info = ml_dtypes.iinfo(kind)
    if (values < info.min).any() or (values > info.max).any():
        raise EncodingError(f"'{name}': an offset lies outside the {encoding.grid.bits}-bit grid")
    return np.asarray(values.astype(np.int64).astype(kind))


def stored(encoding: Encoding, x: Array, name: str) -> Array:
    """The storage integers of the float array ``x``, rounded and clipped as QuantizeLinear does.

    Up to 16 bits in float32 (bit-identical to onnxruntime); int32 biases in float64, whose 53 bits hold them.
    """
    kind = numpy_type(encoding.grid, name)
    if encoding.grid.bits == 32:
        scale, _ = encoding.expanded(x.shape)
        q = np.rint(x.astype(np.float64) / scale.double().numpy())
        return np.asarray(np.clip(q, -(2.0**31), 2.0**31 - 1).astype(np.int32))
    unsigned = encoding.quantize(torch.from_numpy(np.array(x, np.float32))).numpy()
    return np.asarray((unsigned.astype(np.int32) - _half(encoding.grid)).astype(kind))


def restored(q: Array, scale: Array, zero: Array | None, axis: int, block_size: int) -> Array:
    """DequantizeLinear: float32 ``(q - zero) * scale``, per tensor, per axis or blocked along ``axis``."""
    shifted = q.astype(np.float32)
    if zero is not None and zero.any():
        shifted = (q.astype(np.int64) - _spread(zero.astype(np.int64), q.shape, axis, block_size)).astype(np.float32)
    return np.asarray(shifted * _spread(scale.astype(np.float32), q.shape, axis, block_size), np.float32)


def check_layout(where: str, shape: tuple[int, ...], scale: Array, zero: Array | None, axis: int, block: int) -> None:
    """Raise EncodingError when ``scale`` and ``zero`` cannot belong to an integer tensor of ``shape``."""
    rank = len(shape)
    blocked = block and scale.ndim == rank
    if block < 0 or ((blocked or scale.size != 1) and not -rank <= axis < rank):
        raise EncodingError(f"{where}: axis {axis} or block size {block} does not exist in a tensor of shape {shape}")
    if blocked:
        wanted = tuple(-(-s // block) if d == axis % rank else s for d, s in enumerate(shape))
        fits = scale.shape == wanted
    else:
        fits = scale.size == 1 or (scale.ndim == 1 and scale.size == shape[axis])
    if not fits or (zero is not None and zero.shape != scale.shape and zero.size != 1):
        raise EncodingError(
            f"{where}: scales of shape {scale.shape} do not fit a tensor of shape {shape} along axis {axis}; "
            "quantize the model again"
        )


def _spread(param: Array, shape: tuple[int, ...], axis: int, block_size: int) -> Array:
    """``param`` broadcastable against ``shape``."""
    if block_size and param.ndim == len(shape):
        return np.repeat(param, block_size, axis=axis).take(range(shape[axis]), axis=axis)
    if param.size == 1:
        return param.reshape(())
    view = [1] * len(shape)
    view[axis] = param.size
    return param.reshape(view)


def full_rank(rows: torch.Tensor, layout: PerBlock | Lpbq, shape: tuple[int, ...]) -> Array:
    """(channels, blocks) as ONNX wants blocked scales: the tensor's shape with the block axis divided."""
    rank = len(shape)
    channel = layout.channel_axis % rank
    axis = layout.axis % rank
    wanted = tuple(s // layout.block_size if d == axis else s for d, s in enumerate(shape))
    return np.ascontiguousarray(np.broadcast_to(at_rank(rows, channel, axis, rank).numpy(), wanted))


def to_rows(scale: Array, axis: int, channel: int | None) -> tuple[torch.Tensor, int]:
    """Inverse of :func:`full_rank`: (channels, blocks) and the channel axis.

    The channel axis is ``channel`` or the one other axis along which scales differ (axis 0, or 1 when blocks run
    along 0, if none do). Raises EncodingError when scales differ along several.
    """
    tensor = torch.from_numpy(np.array(scale, np.float32))
    axis %= tensor.dim()
    others = [d for d in range(tensor.dim()) if d != axis]
    varying = [d for d in others if bool((tensor != tensor.narrow(d, 0, 1)).any())]
    if channel is None:
        channel = varying[0] if varying else (1 if axis == 0 else 0)
    if any(d != channel for d in varying):
        raise EncodingError(f"block scales vary along axes {varying}; only one channel axis is supported")
    for d in others:
        tensor = tensor if d == channel else tensor.narrow(d, 0, 1)
    return as_rows(tensor, channel, axis), channel


def layout_of(scale: Array, shape: tuple[int, ...] | None, axis: int) -> Granularity:
    """Per-tensor or per-channel by the shape of an unblocked ONNX scale; a single-element vector is per tensor
    unless the axis has that one element."""
    if scale.ndim == 0 or (scale.size == 1 and (shape is None or not shape or shape[axis] != 1)):
        return PerTensor()
    return PerChannel(axis)
