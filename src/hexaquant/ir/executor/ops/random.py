"""Random tensors shaped like another one. The generator is torch's, so ``torch.manual_seed`` fixes them."""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.ir.executor.ops.dtypes import TORCH_DTYPES


def uniform_like(
    x: Tensor, *, dtype: int | None = None, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Tensor:
    kind = x.dtype if dtype is None else TORCH_DTYPES[dtype]
    return torch.rand_like(x, dtype=kind) * (high - low) + low


def normal_like(
    x: Tensor, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Tensor:
    kind = x.dtype if dtype is None else TORCH_DTYPES[dtype]
    return torch.randn_like(x, dtype=kind) * scale + mean
