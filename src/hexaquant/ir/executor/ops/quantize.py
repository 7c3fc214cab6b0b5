"""QuantizeLinear and DequantizeLinear: per tensor, per axis and blocked."""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.ir.executor.ops.dtypes import INTEGER_RANGES, TORCH_DTYPES


def _fit(param: Tensor, x: Tensor, axis: int, block_size: int) -> Tensor:
    """``param`` (a scale or zero point) broadcastable against x."""
    if param.numel() == 1 and not block_size:
        return param.reshape(())
    if block_size:
        return param.repeat_interleave(block_size, axis).narrow(axis, 0, x.shape[axis])
    view = [1] * x.dim()
    view[axis] = -1
    return param.reshape(view)


def quantize_linear(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int,
    precision: int = 0,
    saturate: int = 1,
) -> Tensor:
    """clamp(round(x / scale) + zero_point) in ``output_dtype`` (an ONNX type; uint16 is held as int32)."""
    q = torch.round(x / _fit(scale, x, axis, block_size))
    if zero_point is not None:
        q = q + _fit(zero_point, x, axis, block_size)
    low, high = INTEGER_RANGES[output_dtype]
    return q.clamp(low, high).to(TORCH_DTYPES[output_dtype])


def dequantize_linear(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """(x - zero_point) * scale in the dtype of the scale."""
    y = x.to(scale.dtype)
    if zero_point is not None:
        y = y - _fit(zero_point, x, axis, block_size).to(scale.dtype)
    return y * _fit(scale, x, axis, block_size)
