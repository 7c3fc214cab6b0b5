"""Proves on a CUDA device that the fused LSQ kernels compute what qat/lsq.py says: values and gradients.

    python scripts/check_cuda_kernels.py

Values and the gradient of v must be equal to the last bit; those of scale and offset, sums over all elements, to
2e-3 of their size. Test machines without such a device cannot run it.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from hexaquant.core.grid import Grid
from hexaquant.qat.lsq import gradient_scale, traceable_fake_quantize
from hexaquant.qat.lsq_triton import fused_fake_quantize

SHAPES = ((1,), (7,), (3, 5, 8, 9), (64, 64, 56, 56))


def layouts(v: Tensor) -> list[Tensor]:
    """``v`` as it is, and for four axes also channels-last and as a view with gaps."""
    if v.dim() != 4:
        return [v]
    return [v, v.contiguous(memory_format=torch.channels_last), v.transpose(1, 2)[:, ::2]]


def compare(v: Tensor, grid: Grid) -> None:
    """Raise AssertionError unless both ways agree on ``v``."""
    g, grad = gradient_scale(v.numel(), grid), torch.randn_like(v)
    results = []
    for fused in (False, True):
        x = v.detach().clone().requires_grad_()
        s = torch.tensor(5 / grid.levels, device=v.device, requires_grad=True)
        offset = torch.tensor(-float(grid.levels // 3), device=v.device, requires_grad=True)
        if fused:
            y = fused_fake_quantize(x, s, offset, grid.levels, g)
        else:
            y = traceable_fake_quantize(x, s, offset, grid, None, v.numel())
        y.backward(grad)
        results.append((y.detach(), x.grad, s.grad, offset.grad))
    (y0, x0, s0, o0), (y1, x1, s1, o1) = results
    assert torch.equal(y0, y1) and torch.equal(x0, x1), (v.shape, v.dtype, v.stride())
    noise = g * v.numel() ** 0.5
    assert float((s0 - s1).abs()) < 2e-3 * max(float(s0.abs()), noise), (v.shape, s0, s1)
    assert float((o0 - o1).abs()) < 2e-3 * max(float(o0.abs()), noise * 5 / grid.levels), (v.shape, o0, o1)


def main() -> None:
    torch.manual_seed(0)
    count = 0
    for bits, dtype, shape in itertools.product((8, 16), (torch.float32, torch.bfloat16), SHAPES):
        for v in layouts(torch.randn(shape, device="cuda").to(dtype)):
            compare(v, Grid(bits, False, False))
            count += 1
    print(f"{count} cases: values and gradients agree")


if __name__ == "__main__":
    main()
