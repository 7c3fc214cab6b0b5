"""Ranges that follow what training sees, with straight-through gradients and nothing learned.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018
(arXiv:1712.05877), section 3.1: activations take an exponential moving average of each batch's smallest and largest
value, [low, high] <- m [low, high] + (1 - m) [min x, max x]; weights take their own range at every step. Gradients:
Bengio et al. 2013 (arXiv:1308.3432), 1 inside the range and 0 outside.

Both start at the PTQ encoding. A weight keeps the share of its range that PTQ clipped away: its scale is the starting
scale times (range now / range at the start). With several ranks an activation's range is that of all ranks' batches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hexaquant.core.encoding import MIN_SCALE, Encoding, encoding_from_range, encoding_of, fits
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.ranks import highest, lowest
from hexaquant.qat.pact import EncodingCache
from hexaquant.sim.calibrate import within_clamp
from hexaquant.sim.plan import TensorPlan

MOMENTUM = 0.99
"""What remains of an activation's old range at each step."""


class MovingRange(nn.Module):
    """An activation's range: buffers ``low`` and ``high``; the encoding changes in training mode only."""

    scale: Tensor
    offset: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, plan: TensorPlan, start: Encoding, momentum: float = MOMENTUM) -> None:
        super().__init__()
        self.plan = plan
        self.grid = start.grid
        self.momentum = momentum
        for name, value in (("scale", start.scale), ("offset", start.offset), ("low", start.min), ("high", start.max)):
            self.register_buffer(name, value.detach().clone())
        self._cache = EncodingCache()

    def encoding(self) -> Encoding:
        """The encoding in force."""
        return self._cache.get((self.scale, self.offset), self._encoding)

    def _encoding(self) -> Encoding:
        return Encoding(self.grid, self.scale.clone(), self.offset.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantized ``x`` with straight-through gradients, after the range has followed it."""
        if self.training:
            self._follow(x.detach())
        return fake_quantize(x, self.encoding())

    @torch.no_grad()
    def _follow(self, x: Tensor) -> None:
        low, high = (end.float() for end in torch.aminmax(x))
        low = lowest(low)
        high = highest(high)
        if not fits(low, high, self.grid):
            return
        if self.plan.clamp is not None:
            low = low.clamp(*self.plan.clamp)
            high = high.clamp(*self.plan.clamp)
        self.low.lerp_(low.to(self.low.device), 1 - self.momentum)
        self.high.lerp_(high.to(self.high.device), 1 - self.momentum)
        moved = within_clamp(self.plan, encoding_from_range(self.low, self.high, self.grid))
        self.scale.copy_(moved.scale)
        self.offset.copy_(moved.offset)


class FollowingRange(nn.Module):
    """A weight's range: its scale grows and shrinks with the weight, each channel by itself."""

    scale: Tensor
    offset: Tensor
    block_scale: Tensor | None
    start_scale: Tensor
    start_reach: Tensor

    def __init__(self, start: Encoding, weight: Tensor) -> None:
        super().__init__()
        self.grid = start.grid
        blocks = start.block_scale
        self.register_buffer("scale", start.scale.detach().clone())
        self.register_buffer("offset", start.offset.detach().clone())
        self.register_buffer("block_scale", None if blocks is None else blocks.detach().clone())
        self.register_buffer("start_scale", start.scale.detach().clone())
        self.register_buffer("start_reach", encoding_of(weight.detach(), start.grid).scale)
        self._cache = EncodingCache()

    def encoding(self) -> Encoding:
        """The encoding in force."""
        tensors = (self.scale, self.offset)
        return self._cache.get(tensors, lambda: Encoding(self.grid, self.scale.clone(), self.offset, self.block_scale))

    def forward(self, w: Tensor) -> Tensor:
        """Fake-quantized ``w`` with straight-through gradients, after the range has followed it."""
        if self.training and fits(*torch.aminmax(w.detach()), self.grid):
            reach = encoding_of(w.detach(), self.grid).scale
            self.scale.copy_((self.start_scale * (reach / self.start_reach)).clamp(MIN_SCALE, 1e30))
        return fake_quantize(w, self.encoding())
