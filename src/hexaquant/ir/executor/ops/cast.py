"""Changes of element type."""

from __future__ import annotations

from torch import Tensor

from hexaquant.ir.executor.ops.dtypes import TORCH_DTYPES


def cast(x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """x in the ONNX type ``to``; floats become integers by truncation."""
    return x.to(TORCH_DTYPES[to])


def cast_like(x: Tensor, like: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    return x.to(like.dtype)
