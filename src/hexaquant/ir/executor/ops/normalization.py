"""Normalization layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def batch_normalization(
    x: Tensor,
    scale: Tensor,
    b: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Tensor:
    """Inference only: running statistics, axis 1."""
    return F.batch_norm(x, mean, var, scale, b, False, 0.0, epsilon)


def instance_normalization(x: Tensor, scale: Tensor, b: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=b, eps=epsilon)


def layer_normalization(
    x: Tensor,
    scale: Tensor,
    b: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """Normalization over the axes from ``axis`` on; further outputs are the mean and the inverse deviation."""
    shape = x.shape[axis:]
    if n_outputs == 1 and scale.shape == shape and (b is None or b.shape == shape):
        return (F.layer_norm(x, shape, scale, b, epsilon),)
    axes = list(range(axis % x.dim(), x.dim()))
    var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    inverse = torch.rsqrt(var + epsilon)
    y = (x - mean) * inverse * scale
    return (y if b is None else y + b, mean, inverse)[:n_outputs]


def rms_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """x / sqrt(mean(x^2) + epsilon) * scale over the axes from ``axis`` on."""
    if scale.shape == x.shape[axis:]:
        return F.rms_norm(x, x.shape[axis:], scale, epsilon)
    return F.rms_norm(x, x.shape[axis:], None, epsilon) * scale


def group_normalization(
    x: Tensor, scale: Tensor, b: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """Opset 21: scale and b have one value per channel (opset 18: one per group, repeated here)."""
    if scale.numel() == num_groups != x.shape[1]:
        times = x.shape[1] // num_groups
        scale = scale.repeat_interleave(times)
        b = b.repeat_interleave(times)
    return F.group_norm(x, num_groups, scale, b, epsilon)


def lrn(x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    """x / (bias + alpha / size * sum of squares over ``size`` neighbouring channels) ^ beta."""
    n, c = x.shape[:2]
    before = (size - 1) // 2
    squares = F.pad(x.square().reshape(n, 1, c, -1), [0, 0, before, size - 1 - before])
    mean = F.avg_pool2d(squares, (size, 1), 1).reshape(x.shape)
    return x / (bias + alpha * mean).pow(beta)


def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """x over its Lp norm along ``axis``; zero where the norm is zero."""
    return F.normalize(x, float(p), axis, eps=1e-30)


def mean_variance_normalization(x: Tensor, *, axes: Sequence[int] = (0, 2, 3)) -> Tensor:
    """(x - mean) / (sqrt(variance) + 1e-9) over ``axes``."""
    mean = x.mean(tuple(axes), keepdim=True)
    centred = x - mean
    return centred / (centred.square().mean(tuple(axes), keepdim=True).sqrt() + 1e-9)


def skip_layer_normalization(
    x: Tensor,
    skip: Tensor,
    gamma: Tensor,
    beta: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """com.microsoft: LayerNorm of x + skip + bias over the last axis; output 3 is that sum."""
    summed = x + skip if bias is None else x + skip + bias
    y = F.layer_norm(summed, gamma.shape, gamma, beta, epsilon)
    if n_outputs == 1:
        return (y,)
    var, mean = torch.var_mean(summed, -1, correction=0, keepdim=True)
    return (y, mean, torch.rsqrt(var + epsilon), summed)[:n_outputs]


def dropout(
    x: Tensor, ratio: object = None, training_mode: object = None, *, seed: int = 0, n_outputs: int = 1
) -> tuple[Tensor, ...]:
    """Inference: x itself, and a mask of ones."""
    return (x,) if n_outputs == 1 else (x, torch.ones_like(x, dtype=torch.bool))
