"""Activation functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return F.leaky_relu(x, alpha)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """x where x >= 0, else slope * x; ``slope`` broadcasts against x (shapes (C, 1, 1), (1, C, 1, 1), (1,) ...)."""
    channel = slope.dim() and x.dim() > 1 and slope.dim() >= x.dim() - 1 and slope.shape[1 - x.dim()] == slope.numel()
    if slope.numel() == 1 or (channel and slope.numel() == x.shape[1]):
        return F.prelu(x, slope.reshape(-1))
    return torch.clamp(x, min=0) + slope * torch.clamp(x, max=0)


def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.elu(x, alpha)


def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.celu(x, alpha)


def selu(x: Tensor, *, alpha: float = 1.6732632, gamma: float = 1.0507010) -> Tensor:
    """gamma * (x where x > 0, else alpha * (exp(x) - 1))."""
    return gamma * F.elu(x, alpha)


def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """alpha * x + beta limited to [0, 1]."""
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x where x > alpha, else 0."""
    return F.threshold(x, alpha, 0.0)


def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """x moved by ``bias`` towards zero outside [-lambd, lambd], zero inside."""
    zero = torch.zeros_like(x)
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, zero))


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return F.gelu(x, approximate=approximate)


def biased_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """com.microsoft BiasGelu: exact Gelu of x + bias."""
    return F.gelu(x if bias is None else x + bias)


def fast_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """com.microsoft FastGelu: tanh approximation of Gelu of x + bias."""
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x * sigmoid(alpha * x); also com.microsoft QuickGelu with alpha 1.702."""
    return F.silu(x) if alpha == 1.0 else x * torch.sigmoid(x * alpha)


def quick_gelu(x: Tensor, *, alpha: float = 1.702) -> Tensor:
    return swish(x, alpha=alpha)


def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return torch.softmax(x, axis)


def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return torch.log_softmax(x, axis)


def hardmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """One at the first largest element along ``axis``, zero elsewhere."""
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1.0)
