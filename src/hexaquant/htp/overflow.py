"""Scale limits that keep the int32 accumulator and the requantization of the target safe.

The target computes  y_q = round((sum x_q w_q + b_q) * s') - zero_y  with  s' = s_x s_w / s_y  and
b_q = round(b / (s_x s_w)) in int32. The weight scale is raised (never lowered) so that

1. the bias fits:             |b| / (s_x s_w) <= 2^30
2. s' does not underflow:     s' > 2^-24
3. the output's zero point, folded into the bias, fits:  |b / (s_x s_w) - offset_y / s'| <= 2^30

Half of int32 is left for the products, which the target adds to the bias in the same accumulator: with a bias at the
end of int32 it wraps around, and a channel that is clipped to one end comes out at the other.

Source: AIMET 2.42's export-time adjustment; it concerns near-dead channels, whose tiny weight scale would
otherwise overflow silently on the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

BIAS_LIMIT = float(2**30)
MIN_REQUANT = 2.0**-24 * 1.001


def safe_weight_scale(
    weight_scale: Tensor, x_scale: float, y_scale: float | None, y_offset: float, bias: Tensor | None
) -> Tensor:
    """Weight scales raised where needed.

    ``weight_scale``: () or (C,); ``bias``: (C,) real values or None; ``y_scale`` None when the output stays float.
    Returns a float32 tensor of the shape of ``weight_scale``.
    """
    scale = weight_scale.double()
    floor = torch.zeros_like(scale)
    if bias is not None and bias.numel():
        reach = bias.detach().double().abs()
        if y_scale is not None:
            reach = reach + abs(y_offset) * y_scale
        needed = reach / (x_scale * BIAS_LIMIT)
        floor = needed if scale.dim() else needed.amax()
    if y_scale is not None:
        floor = torch.clamp(floor, min=MIN_REQUANT * y_scale / x_scale)
    return torch.maximum(scale, floor).float()
