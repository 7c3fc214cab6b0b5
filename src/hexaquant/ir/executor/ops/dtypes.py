"""ONNX element types as torch dtypes."""

from __future__ import annotations

import torch
from onnx_ir import DataType
from torch import Tensor

TORCH_DTYPES: dict[int, torch.dtype] = {
    DataType.FLOAT: torch.float32,
    DataType.UINT8: torch.uint8,
    DataType.INT8: torch.int8,
    DataType.UINT16: torch.int32,  # torch.uint16 and uint32 lack arithmetic
    DataType.INT16: torch.int16,
    DataType.INT32: torch.int32,
    DataType.INT64: torch.int64,
    DataType.BOOL: torch.bool,
    DataType.FLOAT16: torch.float16,
    DataType.DOUBLE: torch.float64,
    DataType.UINT32: torch.int64,
    DataType.UINT64: torch.int64,
    DataType.BFLOAT16: torch.bfloat16,
    DataType.UINT4: torch.uint8,
    DataType.INT4: torch.int8,
    DataType.UINT2: torch.uint8,
    DataType.INT2: torch.int8,
}
"""The torch dtype that holds values of each ONNX type; unsigned types without torch arithmetic are held wider."""
INTEGER_RANGES: dict[int, tuple[int, int]] = {
    DataType.UINT2: (0, 3),
    DataType.INT2: (-2, 1),
    DataType.UINT4: (0, 15),
    DataType.INT4: (-8, 7),
    DataType.UINT8: (0, 255),
    DataType.INT8: (-128, 127),
    DataType.UINT16: (0, 65535),
    DataType.INT16: (-32768, 32767),
    DataType.INT32: (-(2**31), 2**31 - 1),
}
"""Smallest and largest value of each integer type that QuantizeLinear can produce."""


# Changes of element type.


def cast(x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """x in the ONNX type ``to``; floats become integers by truncation."""
    return x.to(TORCH_DTYPES[to])


def cast_like(x: Tensor, like: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    return x.to(like.dtype)
