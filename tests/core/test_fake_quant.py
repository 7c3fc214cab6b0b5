"""Fake quantization: the fast paths equal core.grid, and gradients pass straight through inside the range only."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_from_range, encoding_of, float_encoding
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.grid import Granularity, Grid, Lpbq, PerBlock, PerChannel, PerTensor

EVERY: list[Granularity] = [PerTensor(), PerChannel(0), PerChannel(1), PerBlock(1, 8), PerBlock(0, 4, 1), Lpbq(1, 8)]


def narrow(x: Tensor, grid: Grid) -> Encoding:
    """An encoding that clips a part of ``x``."""
    return encoding_of(x * 0.5, grid)


@pytest.mark.parametrize("granularity", EVERY, ids=str)
@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("symmetric", [False, True])
def test_equals_the_definition(granularity: Granularity, bits: int, symmetric: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 32)
    e = narrow(x, Grid(bits, True, symmetric or isinstance(granularity, Lpbq), granularity))
    got, wanted = fake_quantize(x, e), e.fake_quantize(x)
    assert got.shape == x.shape
    apart = (got - wanted).abs() / e.expanded(x.shape)[0]
    assert float(apart.max()) < 1 + 1e-3
    may_differ = 1 if bits == 8 and isinstance(granularity, PerTensor) else 0  # a tie, see core.fake_quant
    assert int((apart > 1e-3).sum()) <= may_differ


def test_eight_bit_kernel_differs_by_one_step_only_at_ties() -> None:
    x = torch.randn(3_000_000, generator=torch.Generator().manual_seed(0)) * 2
    e = encoding_from_range(torch.tensor(-5.0), torch.tensor(6.1), Grid(8))
    apart = (fake_quantize(x, e) - e.fake_quantize(x)).abs() / e.scale
    far = apart > 1e-3
    assert float(apart.max()) < 1 + 1e-3
    assert float(far.float().mean()) < 2e-5
    to_tie = ((x / e.scale) % 1 - 0.5).abs()
    assert not bool(far.any()) or float(to_tie[far].max()) < 1e-4


def test_sixteen_bits_equal_the_definition_to_the_last_bit() -> None:
    x = torch.randn(500_000, generator=torch.Generator().manual_seed(0))
    e = narrow(x, Grid(16))
    assert torch.equal(fake_quantize(x, e), e.fake_quantize(x))


@pytest.mark.parametrize("granularity", EVERY, ids=str)
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_gradient_is_one_inside_and_zero_where_clipped(granularity: Granularity, bits: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 32, requires_grad=True)
    e = narrow(x.detach(), Grid(bits, True, True, granularity))
    weight = torch.randn(16, 32)
    (fake_quantize(x, e) * weight).sum().backward()
    scale, offset = e.expanded(x.shape)
    steps = (x.detach() / scale).round()
    inside = (steps >= offset) & (steps <= offset + e.grid.levels - 1)
    assert 0.02 < float((~inside).float().mean()) < 0.8
    assert x.grad is not None
    assert torch.equal(x.grad, weight * inside)


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(0)], ids=str)
def test_training_and_inference_agree_exactly(granularity: Granularity) -> None:
    x = torch.randn(16, 4096, requires_grad=True)
    e = narrow(x.detach(), Grid(8, True, True, granularity))
    with torch.no_grad():
        assert torch.equal(fake_quantize(x, e), fake_quantize(x, e).detach())
    assert torch.equal(fake_quantize(x, e).detach(), fake_quantize(x.detach(), e))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_computed_in_float32_and_returned_as_they_came(dtype: torch.dtype) -> None:
    x = torch.randn(8, 16).to(dtype).requires_grad_()
    e = narrow(x.detach().float(), Grid(8))
    y = fake_quantize(x, e)
    assert y.dtype == dtype
    assert torch.equal(y.detach(), fake_quantize(x.detach().float(), e).to(dtype))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_works_under_autocast() -> None:
    layer = torch.nn.Linear(16, 16)
    x = torch.randn(4, 16)
    with torch.autocast("cpu", torch.bfloat16):
        y = fake_quantize(layer(x), encoding_of(x, Grid(8)))
        y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert layer.weight.grad is not None
    assert float(layer.weight.grad.abs().sum()) > 0


def test_float16_passes_the_gradient_through() -> None:
    x = torch.randn(64, requires_grad=True)
    y = fake_quantize(x, float_encoding(16))
    y.sum().backward()
    assert torch.equal(y.detach(), x.detach().half().float())
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones(64))


def test_int32_bias_is_not_rounded_to_float32_steps() -> None:
    bias = torch.tensor([0.1, -3.7, 12.25])
    scale = torch.tensor([1e-6, 2e-6, 3e-6])
    e = Encoding(Grid(32, True, True, PerChannel(0)), scale, torch.full((3,), -(2.0**31)))
    assert float((fake_quantize(bias, e) - bias).abs().max()) < 3e-6


def test_input_is_left_alone_and_layouts_are_kept() -> None:
    x = torch.randn(2, 8, 5, 5).to(memory_format=torch.channels_last)
    before = x.clone()
    for bits in (8, 16):
        y = fake_quantize(x, encoding_of(x, Grid(bits)))
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(x, before)
    t = torch.randn(8, 10)[:, ::2].t()
    torch.testing.assert_close(fake_quantize(t, narrow(t, Grid(8))), narrow(t, Grid(8)).fake_quantize(t))


def test_an_empty_batch_stays_empty() -> None:
    e = encoding_of(torch.randn(4), Grid(8))
    assert fake_quantize(torch.empty(0, 3), e).shape == (0, 3)
