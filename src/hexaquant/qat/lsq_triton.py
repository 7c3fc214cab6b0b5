"""LSQ for one scale per tensor on a CUDA device, two kernels per tensor: qat/lsq.py without temporaries.

Forward reads v and writes v^. Backward reads v and the gradient, writes the gradient of v and, a program at a time,
partial sums of those of scale and offset, which are then added up: the same order every time, so the result is
reproducible. Torch's own chain of operations takes some twenty passes over memory for the same, and what
torch.compile makes of it spends most of a step in its reductions. Values are those of core.grid, to the last bit:
division rounds correctly, halves round to even.

Imported only where a CUDA device is at work; Triton comes with PyTorch's CUDA builds.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx
from triton.language.extra import libdevice

BLOCK = 4096
PROGRAMS = 2048
"""Elements that a program takes at once; programs at most, each then takes several blocks."""


@triton.jit
def _forward(v, out, scale, offset, n, levels: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < n
    s = tl.load(scale)
    low = tl.load(offset)
    k = libdevice.div_rn(tl.load(v + at, inside, 0.0).to(tl.float32), s)
    q = libdevice.rint(tl.minimum(tl.maximum(k, low), low + (levels - 1)))
    tl.store(out + at, (q * s).to(out.dtype.element_ty), inside)


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    v, grad, out, sums, scale, offset, n, levels: tl.constexpr, block: tl.constexpr
):
    program = tl.program_id(0)
    programs = tl.num_programs(0)
    s = tl.load(scale)
    low = tl.load(offset)
    top = low + (levels - 1)
    for_scale = tl.zeros([block], tl.float32)
    for_offset = tl.zeros([block], tl.float32)
    for start in range(program.to(tl.int64) * block, n, programs.to(tl.int64) * block):
        at = start + tl.arange(0, block)
        there = at < n
        g = tl.load(grad + at, there, 0.0).to(tl.float32)
        k = libdevice.div_rn(tl.load(v + at, there, 0.0).to(tl.float32), s)
        free = (k > low) & (k < top)
        slope = tl.where(free, libdevice.rint(k) - k, tl.minimum(tl.maximum(k, low), top))
        through = tl.where(free, g, 0.0)
        tl.store(out + at, through.to(out.dtype.element_ty), there)
        for_scale += slope * g
        for_offset += g - through
    tl.store(sums + program, tl.sum(for_scale, 0))
    tl.store(sums + programs + program, tl.sum(for_offset, 0) * s)


def fused_fake_quantize(v: Tensor, scale: Tensor, offset: Tensor, levels: int, g: float) -> Tensor:
    """``v`` (float32, bfloat16 or float16, any shape) on the grid of the float32 scalars ``scale`` and ``offset``.

    ``g``: what the gradients of both are multiplied by (qat/lsq.py). Result in the dtype and layout of ``v``.
    """
    return _FusedLsq.apply(v, scale, offset, levels, g)  # type: ignore[no-any-return]


class _FusedLsq(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, v: Tensor, scale: Tensor, offset: Tensor, levels: int, g: float) -> Tensor:
        ctx.save_for_backward(v, scale, offset)
        ctx.levels, ctx.g, ctx.moves = levels, g, offset.requires_grad  # type: ignore[attr-defined]
        out = torch.empty_like(v)
        same = v if v.stride() == out.stride() else out.copy_(v)
        count = v.numel()
        _forward[(triton.cdiv(count, BLOCK),)](same, out, scale, offset, count, levels, BLOCK)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        v, scale, offset = ctx.saved_tensors
        out = torch.empty_like(v)
        v = v if v.stride() == out.stride() else torch.empty_like(out).copy_(v)
        grad = grads[0] if grads[0].stride() == out.stride() else torch.empty_like(out).copy_(grads[0])
        count = v.numel()
        programs = min(triton.cdiv(count, BLOCK), PROGRAMS)
        sums = torch.empty(2, programs, device=v.device)
        _backward[(programs,)](v, grad, out, sums, scale, offset, count, ctx.levels, BLOCK)
        totals = sums.sum(1) * ctx.g
        return out, totals[0].reshape(scale.shape), totals[1].reshape(offset.shape) if ctx.moves else None, None, None
