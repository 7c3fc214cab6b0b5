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


def matmul_n_bits(
    a: Tensor,
    b: Tensor,
    scales: Tensor,
    zero_points: Tensor | None = None,
    g_idx: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    K: int,
    N: int,
    accuracy_level: int = 0,
    bits: int = 4,
    block_size: int,
    weight_prepacked: int = 0,
) -> Tensor:
    """com.microsoft MatMulNBits: a (..., K) times W' + bias, W (N, K) in blocks along K.

    b (N, blocks, block_size * bits / 8) uint8, low bits first; zero points packed alike, 2^(bits-1) when absent.
    """
    blocks = -(-K // block_size)
    q = _unpack(b.reshape(N, blocks, -1), bits).to(a.dtype)
    if zero_points is None:
        q = q - 2 ** (bits - 1)
    elif zero_points.is_floating_point():
        q = q - zero_points.reshape(N, blocks, 1)
    else:
        q = q - _unpack(zero_points.reshape(N, -1), bits)[:, :blocks, None]
    w = (q * scales.reshape(N, blocks, 1)).reshape(N, -1)[:, :K]
    return F.linear(a, w, bias)


def _unpack(x: Tensor, bits: int) -> Tensor:
    """The ``bits``-wide numbers in the bytes of the last axis."""
    shifts = torch.arange(0, 8, bits, device=x.device, dtype=torch.uint8)
    return ((x[..., None] >> shifts) & (2**bits - 1)).flatten(-2)
