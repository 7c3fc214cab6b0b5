"""The gradients of learned scales and offsets are those of the papers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hexaquant.core.encoding import MIN_SCALE, Encoding
from hexaquant.core.grid import Grid, PerChannel
from hexaquant.qat.lsq import gradient_scale, learned_fake_quantize, learned_offset, learned_scale, lsq_gradients

SIGNED = Grid(4, True, True)
CHANNELS = Grid(4, True, True, PerChannel(0))


def test_gradients_are_the_papers_formula_in_float64() -> None:
    v = torch.tensor([-9.0, -8.0, -3.4, 0.0, 0.3, 6.6, 7.0, 30.0], dtype=torch.float64) * 0.5
    grad = torch.arange(1.0, 9.0, dtype=torch.float64)
    s, offset = torch.tensor(0.5, dtype=torch.float64), torch.tensor(-8.0, dtype=torch.float64)
    grad_v, grad_s, grad_offset = lsq_gradients(grad, v, s, offset, 16)
    wanted = [-8, -8, -3 + 3.4, 0, -0.3, 7 - 6.6, 7, 7]
    assert float(grad_s) == pytest.approx(sum(g * w for g, w in zip(grad.tolist(), wanted)), abs=1e-12)
    assert grad_v.tolist() == [0, 0, 3, 4, 5, 6, 0, 0]
    assert float(grad_offset) == pytest.approx(0.5 * (1 + 2 + 7 + 8))


def test_where_values_are_clipped_the_formula_is_the_true_derivative() -> None:
    v = torch.tensor([-40.0, 30.0, 50.0], dtype=torch.float64)
    grid = (torch.tensor(-5.0, dtype=torch.float64), 16)

    def clipped(s: Tensor, offset: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(v / s, offset), offset + 15) * s

    s = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    offset = grid[0].clone().requires_grad_()
    assert torch.autograd.gradcheck(clipped, (s, offset))
    expected = torch.autograd.grad(clipped(s, offset).sum(), (s, offset))
    _, grad_s, grad_offset = lsq_gradients(torch.ones_like(v), v, s.detach(), offset.detach(), grid[1])
    assert torch.allclose(grad_s, expected[0]) and torch.allclose(grad_offset, expected[1])


def test_gradient_scale_is_one_over_root_of_elements_times_largest_integer() -> None:
    assert gradient_scale(50, SIGNED) == pytest.approx(1 / math.sqrt(50 * 7))
    assert gradient_scale(50, Grid(8)) == pytest.approx(1 / math.sqrt(50 * 255))


def test_one_scale_a_tensor_takes_a_shorter_way_to_the_same_gradients() -> None:
    v = (3 * torch.randn(4, 5, 7, generator=torch.Generator().manual_seed(1))).requires_grad_()
    s, offset = torch.tensor(0.3), torch.tensor(-6.0)
    encoding = Encoding(Grid(4), s.clone(), offset.clone())
    scale, shift = s.clone().requires_grad_(), offset.clone().requires_grad_()
    out = learned_fake_quantize(v, scale, shift, encoding, 35)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).transpose(1, 2).contiguous().mT
    out.backward(grad)
    expected = lsq_gradients(grad, v.detach(), s, offset, 16)
    g = gradient_scale(35, Grid(4))
    assert v.grad is not None and torch.equal(v.grad, expected[0])
    assert scale.grad is not None and torch.allclose(scale.grad, expected[1] * g, rtol=1e-4)
    assert shift.grad is not None and torch.allclose(shift.grad, expected[2] * g, rtol=1e-4)


def test_each_channel_gets_its_own_gradient() -> None:
    w = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([0.1, 0.2, 0.3])
    offset = torch.full((3,), -8.0)
    learned = scale.clone().requires_grad_()
    out = learned_fake_quantize(w, learned, offset, Encoding(CHANNELS, scale, offset))
    assert torch.equal(out, Encoding(CHANNELS, scale, offset).fake_quantize(w))
    out.square().sum().backward()
    for row in range(3):
        _, expected, _ = lsq_gradients(2 * out.detach()[row], w[row], scale[row], offset[row], 16)
        assert learned.grad is not None
        assert float(learned.grad[row]) == pytest.approx(float(expected) * gradient_scale(5, CHANNELS), rel=1e-5)


def test_a_scale_starts_where_it_was_and_its_logarithm_gets_s_times_the_gradient() -> None:
    start = torch.rand(100) + 1e-3
    p = torch.zeros(100, requires_grad=True)
    scale = learned_scale(p, start)
    assert torch.equal(scale, start)
    scale.sum().backward()
    assert p.grad is not None and torch.equal(p.grad, start)
    smooth = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q: learned_scale(q, torch.tensor([0.5, 2.0], dtype=torch.float64)), smooth)


@pytest.mark.parametrize("p", [-1e9, -20.0, 20.0, 1e9, math.inf, -math.inf, math.nan])
def test_no_parameter_makes_a_scale_zero_negative_or_nan(p: float) -> None:
    scale = learned_scale(torch.tensor(p), torch.tensor(0.01), 5.0)
    assert MIN_SCALE <= float(scale) <= 5.0


def test_a_scale_at_its_bound_can_come_back_but_not_go_further() -> None:
    for direction, expected in ((1.0, 6.0), (-1.0, 0.0)):
        p = torch.tensor(9.0, requires_grad=True)
        (direction * learned_scale(p, torch.tensor(1.0), 6.0)).backward()
        assert p.grad is not None and float(p.grad) == expected


def test_an_offset_stays_an_integer_on_the_grid() -> None:
    u = torch.tensor([0.0, 0.001, 0.1, 9.0, -9.0, math.nan], requires_grad=True)
    offset = learned_offset(u, torch.full((6,), -100.0), 256)
    assert offset.tolist() == [-100, -100, -74, 0, -255, -100]
    offset.sum().backward()
    assert u.grad is not None and u.grad.tolist() == [256, 256, 256, 256, 0, 256]
