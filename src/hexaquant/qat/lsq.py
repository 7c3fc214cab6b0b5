"""Learned step size quantization: the maths, on tensors only.

Esser et al., "Learned Step Size Quantization", ICLR 2020 (arXiv:1902.08153), equations 1-3 and section 2.2; the
learned offset is LSQ+ (Bhalgat et al. 2020, arXiv:2004.09576), with the offset kept an integer so that zero stays
exactly representable, as the target requires. With k = v / s, the grid's ends Q_n = offset, Q_p = offset + 2^b - 1::

    dv^/ds      = round(k) - k   inside (Q_n < k < Q_p),  Q_n or Q_p where clipped
    dv^/doffset = 0              inside,                  s           where clipped
    dv^/dv      = 1              inside,                  0           where clipped

The gradients of scale and offset are multiplied by g = 1 / sqrt(N Q_p). The scale is trained as s = s_0 exp(p),
which starts at s_0 to the last bit (p = 0) and cannot become zero or negative; the offset as
round(o_0 + 2^b u), so that p and u both live on a scale where a step of 1e-3 means one per mille of the range.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from hexaquant.core.encoding import MIN_SCALE, Encoding
from hexaquant.core.fake_quant import BLOCK, fake_quantize, flat_in_memory_order, row_blocks
from hexaquant.core.grid import Grid, expand, round_half_even

LOG_LIMIT = 10.0
"""A scale stays within a factor of exp(10) of where it started, whatever the optimizer does."""


def gradient_scale(elements: int, grid: Grid) -> float:
    """g = 1 / sqrt(N Q_p) for N ``elements`` that share a scale (section 2.2); Q_p of the paper's two grids."""
    q_p = grid.levels // 2 - 1 if grid.symmetric else grid.levels - 1
    return 1.0 / math.sqrt(max(elements, 1) * q_p)


def lsq_gradients(grad: Tensor, v: Tensor, s: Tensor, offset: Tensor, levels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for (v, s, offset) given that of the quantized values; all broadcast against ``v``, g not applied.

    The second and third have the shapes of ``s`` and ``offset``, summed over the elements that share them.
    """
    k = v / s
    top = offset + (levels - 1)
    inside = (k > offset) & (k < top)
    grad_s = torch.where(inside, round_half_even(k).sub_(k), torch.minimum(torch.maximum(k, offset), top)).mul_(grad)
    grad_v = grad * inside
    grad_offset = ((grad - grad_v) * s).sum_to_size(offset.shape)
    return grad_v, grad_s.sum_to_size(s.shape), grad_offset


def in_tensors_only(v: Tensor) -> bool:
    """Whether arithmetic on ``v`` must not look at a number: torch.compile would break the graph, a GPU would wait."""
    return torch.compiler.is_compiling() or v.device.type != "cpu"


def traceable_fake_quantize(
    v: Tensor, scale: Tensor, offset: Tensor, grid: Grid, blocks: Tensor | None = None, elements: int | None = None
) -> Tensor:
    """:func:`learned_fake_quantize` in tensor arithmetic alone, which torch.compile fuses into its neighbours.

    Divides by the scale as core.grid defines it (core.fake_quant says where its fast path on a CPU does not).
    """
    step = scale if blocks is None else scale[:, None] * blocks
    count = v.numel() // max(scale.numel(), 1) if elements is None else elements
    wide_step = expand(step, grid.granularity, v.shape)
    wide_offset = expand(offset, grid.granularity, v.shape)
    moves = offset.requires_grad
    g = gradient_scale(count, grid)
    return _TraceableLsq.apply(v, wide_step, wide_offset, grid.levels, g, moves)  # type: ignore[no-any-return]


class _TraceableLsq(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, v: Tensor, s: Tensor, offset: Tensor, levels: int, g: float, moves: bool) -> Tensor:
        ctx.save_for_backward(v, s, offset)
        ctx.levels, ctx.g, ctx.moves = levels, g, moves  # type: ignore[attr-defined]
        k = round_half_even(v.to(s.dtype) / s)
        return (torch.minimum(torch.maximum(k, offset), offset + (levels - 1)) * s).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None, None]:
        v, s, offset = ctx.saved_tensors
        grad = grads[0].to(s.dtype)
        wide = v.to(s.dtype)
        top = offset + (ctx.levels - 1)
        k = wide / s
        inside = (k > offset) & (k < top)
        slope = torch.where(inside, round_half_even(k) - k, torch.minimum(torch.maximum(k, offset), top))
        grad_s = (slope * grad).sum_to_size(s.shape) * ctx.g
        grad_v = torch.where(inside, grad, 0.0)
        moved = ((grad - grad_v) * s).sum_to_size(offset.shape) * ctx.g if ctx.moves else None
        return grad_v.to(v.dtype), grad_s, moved, None, None, None


def learned_fake_quantize(
    v: Tensor, scale: Tensor, offset: Tensor, encoding: Encoding, elements: int | None = None
) -> Tensor:
    """``v`` on the grid of ``encoding``, the very values of core.fake_quant, with LSQ gradients.

    ``scale`` and ``offset`` carry the gradient and must hold the numbers of ``encoding``, in its stored shapes.
    ``elements``: N of the gradient scale, by default the elements of ``v`` that share a scale.
    """
    blocks = encoding.block_scale
    step = scale if blocks is None else scale[:, None] * blocks
    count = v.numel() // max(scale.numel(), 1) if elements is None else elements
    granularity = encoding.grid.granularity
    device = v.device
    wide_step = expand(step, granularity, v.shape)
    wide_offset = expand(offset, granularity, v.shape)
    g = gradient_scale(count, encoding.grid)
    return _Lsq.apply(v, wide_step.to(device), wide_offset.to(device), encoding, g)  # type: ignore[no-any-return]


class _Lsq(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, v: Tensor, s: Tensor, offset: Tensor, encoding: Encoding, g: float) -> Tensor:
        result = fake_quantize(v.detach(), encoding)
        ctx.whole = s.dim() == 0 and v.dtype == torch.float32  # type: ignore[attr-defined]
        ctx.save_for_backward(v, s, offset, *((result,) if ctx.whole else ()))  # type: ignore[attr-defined]
        ctx.levels, ctx.g = encoding.grid.levels, g  # type: ignore[attr-defined]
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        v, s, offset, *quantized = ctx.saved_tensors  # once only: gradient checkpointing recomputes what is unpacked
        if ctx.whole:
            moves = ctx.needs_input_grad[2]
            grad_v, grad_s, moved = _one_scale(grads[0], v, s, offset, quantized[0], ctx.levels, moves)
            return grad_v, grad_s * ctx.g, None if moved is None else moved * ctx.g, None, None
        wide = torch.promote_types(v.dtype, s.dtype)
        grad_v, grad_s, grad_offset = _by_rows(grads[0].to(wide), v.to(wide), s, offset, ctx.levels)
        return grad_v.to(v.dtype), (grad_s * ctx.g).to(s.dtype), (grad_offset * ctx.g).to(offset.dtype), None, None


def _one_scale(
    grad: Tensor, v: Tensor, s: Tensor, offset: Tensor, quantized: Tensor, levels: int, moves: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """:func:`lsq_gradients` for one scale per tensor: each number is read from memory once, nothing large is kept.

    Inside s dv^/ds = v^ - v, and where clipped it is v^: both are v^ minus the unclipped part of v.
    """
    low = float(offset * s)
    high = float((offset + (levels - 1)) * s)
    unless_clipped = torch.ops.aten.hardtanh_backward.grad_input
    grad_v = torch.empty_like(v)
    spare = v.new_empty(min(BLOCK, v.numel()))
    sums = []
    pieces = (t.split(BLOCK) for t in flat_in_memory_order(v, grad, quantized, grad_v))
    for value, slope, rounded, out in zip(*pieces):
        unless_clipped(slope, value, low, high, grad_input=out)
        rest = spare[: value.numel()]
        unless_clipped(value, value, low, high, grad_input=rest)
        sums.append(torch.dot(slope, torch.sub(rounded, rest, out=rest)))
    grad_s = torch.stack(sums).sum() / s if sums else torch.zeros_like(s)
    return grad_v, grad_s, (grad.sum() - grad_v.sum()) * s if moves else None


def _by_rows(grad: Tensor, v: Tensor, s: Tensor, offset: Tensor, levels: int) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`lsq_gradients`, piece by piece where rows do not share scales."""
    if v.numel() <= BLOCK or s.dim() != v.dim() or s.shape[0] != v.shape[0]:
        return lsq_gradients(grad, v, s, offset, levels)
    parts = [lsq_gradients(grad[rows], v[rows], s[rows], offset[rows], levels) for rows in row_blocks(v.shape)]
    grad_v, grad_s, grad_offset = (torch.cat(pieces) for pieces in zip(*parts))
    return grad_v, grad_s, grad_offset


def learned_scale(p: Tensor, start: Tensor, largest: Tensor | float = math.inf) -> Tensor:
    """``start`` * exp(p), inside [MIN_SCALE, ``largest``] and within exp(+-LOG_LIMIT) of ``start``; NaN counts as 0.

    Gradient s ds/dp, but 0 where a bound holds and descent would go further out, so that p can come back.
    """
    return _Scale.apply(p, start, torch.as_tensor(largest, dtype=start.dtype, device=start.device))  # type: ignore[no-any-return]


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, p: Tensor, start: Tensor, largest: Tensor) -> Tensor:
        free = p.nan_to_num(0.0, LOG_LIMIT, -LOG_LIMIT)
        s = start * free.clamp(-LOG_LIMIT, LOG_LIMIT).exp()
        bounded = torch.minimum(s.clamp(min=MIN_SCALE), largest)
        ctx.save_for_backward(bounded, (s >= largest) | (free >= LOG_LIMIT), (s <= MIN_SCALE) | (free <= -LOG_LIMIT))
        return bounded

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        s, high, low = ctx.saved_tensors
        return _inward(grads[0] * s, low, high), None, None


def learned_offset(u: Tensor, start: Tensor, levels: int) -> Tensor:
    """round(``start`` + levels * u), inside [1 - levels, 0]; straight-through gradient, bounds as in learned_scale."""
    return _Offset.apply(u, start, levels)  # type: ignore[no-any-return]


class _Offset(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, u: Tensor, start: Tensor, levels: int) -> Tensor:
        free = start + levels * u.nan_to_num(0.0, 1.0, -1.0)
        ctx.levels = levels  # type: ignore[attr-defined]
        ctx.save_for_backward(free <= 1 - levels, free >= 0)
        return round_half_even(free).clamp(1 - levels, 0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        low, high = ctx.saved_tensors
        return _inward(grads[0] * ctx.levels, low, high), None, None


def _inward(grad: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """``grad`` without what would push a value at its lower bound down or one at its upper bound up."""
    return grad.masked_fill((low & (grad > 0)) | (high & (grad < 0)), 0)
