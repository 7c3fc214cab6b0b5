"""LSQ and LSQ+ in float64 from the parameters a user's optimizer sees: closed form where rounding makes steps, true
derivatives where the function is smooth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding
from hexaquant.core.grid import Grid, Lpbq, PerBlock, PerChannel
from hexaquant.qat.learn import LearnedEncoding
from hexaquant.qat.lsq import gradient_scale, learned_offset, learned_scale, traceable_fake_quantize
from hexaquant.sim.plan import TensorPlan

SIGNED, UNSIGNED = Grid(4, True, True), Grid(4)


def closed_form(v: float, s: float, offset: float) -> tuple[float, float, float]:
    """(dv^/dv, dv^/ds, dv^/doffset) of one element, equations 2 and 3 of LSQ and section 3.1 of LSQ+."""
    k, top = v / s, offset + 15
    if k <= offset:
        return 0.0, offset, s
    if k >= top:
        return 0.0, top, s
    return 1.0, round(k) - k, 0.0


def numbers(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return 4 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def learned(grid: Grid, scale: list[float] | float, offset: float, role: str) -> LearnedEncoding:
    s = torch.tensor(scale)
    blocks = torch.full((*s.shape, 2), 3.0) if isinstance(grid.granularity, Lpbq) else None
    start = Encoding(grid, s, torch.full_like(s, offset), blocks)
    return LearnedEncoding(TensorPlan("t", role, "observed", grid), start).double()  # type: ignore[arg-type]


@pytest.mark.parametrize("p", [0.0, 0.3, -0.2])
def test_an_activation_s_scale_and_offset_get_the_papers_gradients(p: float) -> None:
    module, v, grad = learned(UNSIGNED, 0.25, -6.0, "activation"), numbers(3, 7).requires_grad_(), numbers(3, 7)
    with torch.no_grad():
        module.log_scale.fill_(p)
    module(v).backward(grad)
    s = 0.25 * math.exp(p)
    slopes = [closed_form(x, s, -6.0) for x in v.detach().flatten().tolist()]
    weighted = [[g * slope for slope in three] for g, three in zip(grad.flatten().tolist(), slopes)]
    g = gradient_scale(7, UNSIGNED)  # N: features of one sample
    assert v.grad is not None and v.grad.flatten().tolist() == pytest.approx([row[0] for row in weighted], rel=1e-9)
    assert float(module.log_scale.grad) == pytest.approx(s * g * sum(row[1] for row in weighted), rel=1e-6)
    assert module.shift is not None
    assert float(module.shift.grad) == pytest.approx(16 * g * sum(row[2] for row in weighted), rel=1e-6)


@pytest.mark.parametrize(
    ("granularity", "scale", "steps"),
    [
        (PerChannel(0), [0.2, 0.5], [[0.2] * 6, [0.5] * 6]),
        (PerBlock(1, 3), [[0.2, 0.5], [0.3, 0.7]], [[0.2] * 3 + [0.5] * 3, [0.3] * 3 + [0.7] * 3]),
        (Lpbq(1, 3), [0.1, 0.2], [[0.1 * 3] * 6, [0.2 * 3] * 6]),
    ],
    ids=["channel", "block", "lpbq"],
)
def test_a_weight_s_scales_get_the_papers_gradients(
    granularity: PerChannel | PerBlock | Lpbq, scale: list[float], steps: list[list[float]]
) -> None:
    grid = Grid(4, True, True, granularity)
    module, w, grad = learned(grid, scale, -8.0, "weight"), numbers(2, 6), numbers(2, 6)
    module(w.requires_grad_()).backward(grad)
    slope = torch.tensor(
        [[closed_form(x, s, -8.0)[1] for x, s in zip(row, own)] for row, own in zip(w.tolist(), steps)]
    )
    terms = grad * slope.double() * torch.tensor(steps, dtype=torch.float64)  # d step / d log_scale = step
    found = module.log_scale.grad
    expected = terms.reshape(2, 2, 3).sum(2) if isinstance(granularity, PerBlock) else terms.sum(1)
    expected = expected * gradient_scale(w.numel() // expected.numel(), grid)
    assert found is not None and torch.allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_where_values_are_clipped_the_gradients_are_true_derivatives() -> None:
    v = torch.tensor([[-40.0, 30.0, 55.0, -60.0]], dtype=torch.float64)
    s, offset = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.7, -5.0))

    def clipped(s: Tensor, offset: Tensor) -> Tensor:
        return traceable_fake_quantize(v, s, offset, UNSIGNED)

    g, eps = gradient_scale(4, UNSIGNED), 1e-6
    found = torch.autograd.grad(clipped(s, offset).sum(), (s, offset))
    with torch.no_grad():
        by_s = (clipped(s + eps, offset) - clipped(s - eps, offset)).sum() / (2 * eps)
        by_offset = (clipped(s, offset + eps) - clipped(s, offset - eps)).sum() / (2 * eps)
    assert float(found[0] / g) == pytest.approx(float(by_s), rel=1e-6)
    assert float(found[1] / g) == pytest.approx(float(by_offset), rel=1e-6)


def test_the_smooth_parts_pass_gradcheck() -> None:
    start = torch.tensor([0.5, 2.0, 1e-3], dtype=torch.float64)
    p = torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q: learned_scale(q, start), p)
    assert torch.autograd.gradcheck(lambda q: learned_scale(q, start, torch.full_like(start, 1e3)), p)
    u = torch.tensor([0.1, -0.1], dtype=torch.float64, requires_grad=True)
    offset = learned_offset(u, torch.full((2,), -100.0, dtype=torch.float64), 256)
    assert torch.autograd.grad(offset.sum(), u)[0].tolist() == [256, 256]  # rounding is passed straight through
