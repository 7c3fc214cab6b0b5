"""Matrix products."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """alpha * A' B' + beta * C, with C broadcast to (M, N)."""
    left = a.t() if transA else a
    if alpha == 1.0 and beta == 1.0 and (c is None or c.dim() == 1):
        return F.linear(left, b if transB else b.t(), c)
    y = left @ (b.t() if transB else b)
    y = y if alpha == 1.0 else alpha * y
    if c is None:
        return y
    return y + (c if beta == 1.0 else beta * c)


def einsum(*operands: Tensor, equation: str) -> Tensor:
    return torch.einsum(equation.replace(" ", ""), *operands)


def fused_matmul(
    a: Tensor,
    b: Tensor,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Tensor:
    """com.microsoft FusedMatMul: alpha * A' B'; transBatch moves the leading axis next to the last before that."""
    left = _arrange(a, transA, transBatchA)
    y = left @ _arrange(b, transB, transBatchB)
    return y if alpha == 1.0 else alpha * y


def _arrange(x: Tensor, trans: int, trans_batch: int) -> Tensor:
    if trans_batch:
        x = x.movedim(0, -2)
    return x.transpose(-1, -2) if trans else x
