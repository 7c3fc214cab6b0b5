"""PACT: the clipping ends of the range are trained, rounding is passed straight through.

Choi et al., "PACT: Parameterized Clipping Activation for Quantized Neural Networks", 2018 (arXiv:1805.06085),
equations 1-3: y = clip(x, 0, alpha), y_q = round(y (2^k - 1) / alpha) alpha / (2^k - 1) and

    dy_q/dalpha = 0 where x < alpha, 1 where x >= alpha;        dy_q/dx = 1 inside the range, 0 outside.

Ranges with a negative end have a second parameter beta: y = clip(x, -beta, alpha), dy_q/dbeta = -1 where x <= -beta;
symmetric grids have one alpha for both ends. Both are trained by their logarithms, alpha = alpha_0 exp(p), so that
they start at the PTQ range to the last bit and stay positive. The paper's penalty on alpha^2 is left to the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from hexaquant.core.encoding import MIN_SCALE, Encoding
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.grid import expand, round_half_even
from hexaquant.qat.lsq import LOG_LIMIT

# Keeps an Encoding until one of the tensors it is computed from changes.


class EncodingCache:
    """The same object until a tensor is written to or replaced, so that readers can compare by identity."""

    def __init__(self) -> None:
        self._kept: Encoding | None = None
        self._kept_for: tuple[int, ...] = ()

    def get(self, tensors: Sequence[Tensor | None], make: Callable[[], Encoding]) -> Encoding:
        """What ``make`` returned when ``tensors`` were last as they are now."""
        key = tuple(number for t in tensors if t is not None for number in (t._version, t.data_ptr()))
        if self._kept is None or key != self._kept_for:
            self._kept = make()
            self._kept_for = key
        return self._kept


def pact_gradients(grad: Tensor, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for (x, low end, high end) given that of the quantized values; the ends broadcast against ``x``.

    The second and third have the shapes of ``low`` and ``high``, summed over the elements that share them.
    """
    above = x >= high
    below = x <= low
    grad_x = grad.masked_fill(above | below, 0)
    return grad_x, (grad * below).sum_to_size(low.shape), (grad * above).sum_to_size(high.shape)


class PactEncoding(nn.Module):
    """What a quantizer trains: ``log_high`` and, for asymmetric grids, ``log_low``, zero at the start.

    ``largest``: the largest scale the target allows (a fused Clip's end), infinite for others.
    """

    start_scale: Tensor
    start_offset: Tensor
    block_scale: Tensor | None
    largest: Tensor

    def __init__(self, start: Encoding, largest: Tensor) -> None:
        super().__init__()
        self.grid = start.grid
        blocks = start.block_scale
        self.register_buffer("start_scale", start.scale.detach().clone())
        self.register_buffer("start_offset", start.offset.detach().clone())
        self.register_buffer("block_scale", None if blocks is None else blocks.detach().clone())
        self.register_buffer("largest", largest)
        self.log_high = nn.Parameter(torch.zeros_like(self.start_scale))
        self.log_low = None if start.grid.symmetric else nn.Parameter(torch.zeros_like(self.start_scale))
        self._cache = EncodingCache()

    def encoding(self) -> Encoding:
        """The encoding in force: its ends are the trained ones, moved so that zero is on the grid."""
        return self._cache.get((self.log_high, self.log_low, self.start_scale, self.start_offset), self._encoding)

    @torch.no_grad()
    def _encoding(self) -> Encoding:
        wider = _factor(self.log_high)
        lower = _factor(self.log_high if self.log_low is None else self.log_low)
        top = float(self.grid.levels - 1)
        below = -self.start_offset
        above = self.start_offset + top
        ratio = (above * wider + below * lower) / top
        ratio = torch.where(wider == lower, wider, ratio)
        wanted = self.start_scale * ratio
        scale = torch.minimum(wanted.clamp(min=MIN_SCALE), self.largest)
        offset = -round_half_even(below * (lower / ratio)).clamp(0, top)
        return Encoding(self.grid, scale, self.start_offset if self.log_low is None else offset, self.block_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantized ``x``, to the last bit what the exported encoding gives, with PACT gradients."""
        encoding = self.encoding()
        step = encoding.step
        offset = encoding.offset if self.block_scale is None else encoding.offset[:, None]
        low = offset * step
        high = (offset + (self.grid.levels - 1)) * step
        granularity = self.grid.granularity
        ends = _Ends.apply(self.log_low, self.log_high, low, high)
        wide = [expand(end, granularity, x.shape).to(x.device) for end in ends]
        return _Pact.apply(x, *wide, encoding)  # type: ignore[no-any-return]


def _factor(p: Tensor) -> Tensor:
    """exp(p), within exp(+-LOG_LIMIT); NaN counts as 0."""
    return p.nan_to_num(0.0, LOG_LIMIT, -LOG_LIMIT).clamp(-LOG_LIMIT, LOG_LIMIT).exp()


class _Ends(torch.autograd.Function):
    """(low, high) as they are in force, with d high / d log_high = high and d low / d log_low = low."""

    @staticmethod
    def forward(ctx: Any, log_low: Tensor | None, log_high: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        ctx.one = log_low is None
        ctx.shape = log_high.shape
        ctx.save_for_backward(low, high)
        return low.clone(), high.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        low, high = ctx.saved_tensors
        down, up = (_per_parameter(g * end, ctx.shape) for g, end in zip(grads, (low, high)))
        return (None, up + down, None, None) if ctx.one else (down, up, None, None)


def _per_parameter(grad: Tensor, shape: torch.Size) -> Tensor:
    """Blocks that share a channel's parameter add up."""
    return grad if grad.shape == shape else grad.sum(1)


class _Pact(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, low: Tensor, high: Tensor, encoding: Encoding) -> Tensor:
        ctx.save_for_backward(x, low, high)
        return fake_quantize(x.detach(), encoding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, low, high = ctx.saved_tensors
        grad_x, grad_low, grad_high = pact_gradients(grads[0].to(low.dtype), x.to(low.dtype), low, high)
        return grad_x.to(x.dtype), grad_low, grad_high, None
