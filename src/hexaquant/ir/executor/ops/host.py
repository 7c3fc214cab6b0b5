"""Values that live on the host: shapes, axes, pads. Constants arrive as Python numbers, computed ones as tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

IntList = int | Sequence[int] | Tensor
Number = int | float | bool


def ints(x: IntList) -> list[int]:
    """Python ints of ``x`` (a number, a sequence or an integer tensor of any rank, flattened)."""
    if isinstance(x, Tensor):
        return [int(v) for v in x.reshape(-1).tolist()]
    return [x] if isinstance(x, int) else list(x)


def floats(x: Sequence[float] | Tensor) -> list[float]:
    """Python floats of a sequence or of a tensor, flattened."""
    return x.reshape(-1).tolist() if isinstance(x, Tensor) else [float(v) for v in x]


def number(x: Number | Sequence[Number] | Tensor) -> Number:
    """The only number in ``x``: a Python number, a one-element sequence or a one-element tensor."""
    if isinstance(x, Tensor):
        return x.item()
    return x if isinstance(x, int | float | bool) else x[0]


def constant(values: Number | Sequence, dtype: torch.dtype) -> Tensor:
    """A small CPU tensor for shape arithmetic, made anew at each call so that ``Module.to`` never moves it."""
    return torch.tensor(values, dtype=dtype)


def to_device_of(x: Tensor, reference: Tensor) -> Tensor:
    """``x``, computed on the host, on the device of ``reference``."""
    return x.to(reference.device)
