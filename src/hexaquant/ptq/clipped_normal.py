"""Mean of a normal variable behind a clipping activation.

    E[clip(X, a, b)] = s (phi(A) - phi(B)) + m (Phi(B) - Phi(A)) + a Phi(A) + b (1 - Phi(B))
    A = (a - m) / s,   B = (b - m) / s,   X ~ N(m, s^2)

Paper: Nagel et al., ICCV 2019 (arXiv:1906.04721), appendix C; a = 0 and b infinite is ReLU.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SMALLEST = 1e-12


def clipped_normal_mean(mean: Tensor, deviation: Tensor, low: float | None, high: float | None) -> Tensor:
    """Elementwise, float64. ``low``/``high``: bounds of the activation, None for none."""
    m, s = mean.double(), deviation.double().clamp(min=_SMALLEST)
    normal = torch.distributions.Normal(torch.zeros_like(m), torch.ones_like(m))
    below, above, result = torch.zeros_like(m), torch.ones_like(m), torch.zeros_like(m)
    if low is not None:
        a = (low - m) / s
        below = normal.cdf(a)
        result = result + s * normal.log_prob(a).exp() + low * below
    if high is not None:
        b = (high - m) / s
        above = normal.cdf(b)
        result = result - s * normal.log_prob(b).exp() + high * (1 - above)
    return result + m * (above - below)
