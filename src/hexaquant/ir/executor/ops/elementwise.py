"""Arithmetic element by element with numpy broadcasting. Operands may be Python numbers (constants of rank 0)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Operand = Tensor | float | int


def _is_float(*operands: Operand) -> bool:
    return any(o.is_floating_point() if isinstance(o, Tensor) else isinstance(o, float) for o in operands)


def div(a: Operand, b: Operand) -> Tensor:
    """a / b; integers are divided towards zero."""
    if _is_float(a, b):
        return torch.true_divide(a, b) if isinstance(a, Tensor) else a / b  # type: ignore[return-value]
    a = a if isinstance(a, Tensor) else torch.full_like(b, a)  # type: ignore[arg-type]
    return torch.div(a, b, rounding_mode="trunc")


def power(a: Operand, b: Operand) -> Tensor:
    """a ** b in the dtype of a."""
    y = torch.pow(a, b)  # type: ignore[arg-type]
    return y.to(a.dtype) if isinstance(a, Tensor) else y


def mod(a: Operand, b: Operand, *, fmod: int = 0) -> Tensor:
    """Remainder with the sign of b (fmod=0) or of a (fmod=1)."""
    return torch.fmod(a, b) if fmod else torch.remainder(a, b)  # type: ignore[arg-type]


def maximum(*operands: Operand) -> Tensor:
    """Largest of any number of operands."""
    y, numbers = _split_numbers(operands)
    for x in y[1:]:
        y[0] = torch.maximum(y[0], x)
    return torch.clamp(y[0], min=max(numbers)) if numbers else y[0]


def minimum(*operands: Operand) -> Tensor:
    """Smallest of any number of operands."""
    y, numbers = _split_numbers(operands)
    for x in y[1:]:
        y[0] = torch.minimum(y[0], x)
    return torch.clamp(y[0], max=min(numbers)) if numbers else y[0]


def _split_numbers(operands: tuple[Operand, ...]) -> tuple[list[Tensor], list[float]]:
    tensors = [o for o in operands if isinstance(o, Tensor)]
    return tensors, [o for o in operands if not isinstance(o, Tensor)]


def total(*operands: Operand) -> Tensor:
    """Sum of any number of operands."""
    y = operands[0]
    for x in operands[1:]:
        y = y + x
    return y  # type: ignore[return-value]


def mean(*operands: Operand) -> Tensor:
    """Mean of any number of operands."""
    return total(*operands) / len(operands)


def clip(x: Tensor, low: Operand | None = None, high: Operand | None = None) -> Tensor:
    """x limited to [low, high]; ``high`` wins where low > high."""
    if low is None and high is None:
        return x
    if isinstance(low, float) and isinstance(high, float) and low <= high and x.is_floating_point():
        return F.hardtanh(x, low, high)  # its backward is one fused kernel, clamp's is three
    if isinstance(low, Tensor) != isinstance(high, Tensor) and low is not None and high is not None:
        return torch.clamp(torch.clamp(x, min=low), max=high)  # type: ignore[arg-type]
    return torch.clamp(x, low, high)  # type: ignore[arg-type]


def is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """Boolean mask of the chosen infinities."""
    if detect_negative and detect_positive:
        return torch.isinf(x)
    return torch.isposinf(x) if detect_positive else torch.isneginf(x) & bool(detect_negative)


def bit_shift(x: Tensor, amount: Tensor, *, direction: str) -> Tensor:
    """Bits of x shifted LEFT or RIGHT."""
    return x << amount if direction == "LEFT" else x >> amount
