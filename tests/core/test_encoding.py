"""Encodings: zero is always exact, ranges are covered, odd channels stay legal, LPBQ reconstructs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hexaquant.core.encoding import MIN_SCALE, Encoding, encoding_from_range, encoding_of, lpbq_from_weight
from hexaquant.core.errors import EncodingError
from hexaquant.core.grid import FLOAT16, Grid, Lpbq, PerBlock, PerChannel

BOUND = st.floats(-1e4, 1e4, allow_nan=False, width=32)


@settings(max_examples=200, deadline=None)
@given(a=BOUND, b=BOUND, bits=st.sampled_from([2, 4, 8, 16]), symmetric=st.booleans())
def test_zero_is_representable_and_the_range_covered(a: float, b: float, bits: int, symmetric: bool) -> None:
    low, high = min(a, b), max(a, b)
    e = encoding_from_range(torch.tensor(low), torch.tensor(high), Grid(bits, symmetric=symmetric))
    assert float(e.fake_quantize(torch.zeros(1))) == 0
    assert float(e.offset) == round(float(e.offset))
    assert -(e.grid.levels - 1) <= float(e.offset) <= 0
    slack = 0.5000001 * float(e.scale) + 1e-6 * max(abs(low), abs(high))
    assert float(e.min) <= min(low, 0) + slack
    assert float(e.max) >= max(high, 0) - slack


@settings(max_examples=100, deadline=None)
@given(a=BOUND, b=BOUND, bits=st.sampled_from([4, 8, 16]))
def test_fake_quantize_is_idempotent_and_within_half_a_step(a: float, b: float, bits: int) -> None:
    e = encoding_from_range(torch.tensor(min(a, b)), torch.tensor(max(a, b)), Grid(bits))
    x = torch.linspace(float(e.min), float(e.max), 257)
    y = e.fake_quantize(x)
    assert torch.equal(e.fake_quantize(y), y)
    assert float((y - x).abs().max()) <= 0.5 * float(e.scale) * (1 + 1e-2)


def test_symmetric_grid_uses_all_levels() -> None:
    e = encoding_of(torch.tensor([-1.28, 1.0]), Grid(8, True, True))
    assert float(e.scale) == pytest.approx(0.01)
    assert float(e.min) == pytest.approx(-1.28)


def test_dead_channel_gets_the_smallest_legal_scale() -> None:
    w = torch.randn(3, 8)
    w[1] = 0
    e = encoding_of(w, Grid(8, True, True, PerChannel(0)))
    assert float(e.scale[1]) == MIN_SCALE
    assert torch.equal(e.fake_quantize(w)[1], torch.zeros(8))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinite_ranges_are_refused(bad: float) -> None:
    with pytest.raises(EncodingError, match="NaN or infinite"):
        encoding_from_range(torch.tensor(-1.0), torch.tensor(bad), Grid(8))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_illegal_scales_are_refused(scale: float) -> None:
    with pytest.raises(EncodingError, match="scale"):
        Encoding(Grid(8), torch.tensor(scale), torch.tensor(0.0))


@pytest.mark.parametrize(("axis", "channel"), [(1, 0), (0, 1)])
def test_lpbq_scales_are_integers_of_a_channel_scale_and_reconstruct(axis: int, channel: int) -> None:
    torch.manual_seed(0)
    w = torch.randn(64, 128) * torch.rand(64, 1)
    grid = Grid(4, True, True, Lpbq(axis, 16, channel))
    e = lpbq_from_weight(w, grid)
    ints = e.block_scale
    assert ints is not None
    assert torch.equal(ints, ints.round())
    assert int(ints.min()) >= 1
    assert int(ints.max()) == 16
    assert e.scale.shape == (w.shape[channel],)
    per_block = encoding_of(w, Grid(4, True, True, PerBlock(axis, 16, channel)))
    per_channel = encoding_of(w, Grid(4, True, True, PerChannel(channel)))
    error = [float((x.fake_quantize(w) - w).square().mean()) for x in (e, per_block, per_channel)]
    assert error[0] < 1.2 * error[1]
    assert error[0] < error[2]


def test_int32_bias_keeps_every_bit_of_float32() -> None:
    bias = torch.tensor([0.1, -3.7, 123.456, 1e-4])
    e = Encoding(Grid(32, True, True), torch.tensor(1e-6), torch.tensor(-(2.0**31)))
    wanted = (bias.double() / e.scale.double()).round() * e.scale.double()
    assert torch.equal(e.fake_quantize(bias), wanted.float())
    assert e.quantize(bias).dtype == torch.float64


def test_blocks_must_divide_the_axis() -> None:
    with pytest.raises(EncodingError, match="multiple of block size"):
        encoding_of(torch.randn(4, 10), Grid(4, True, True, PerBlock(1, 4)))


def test_float16_encoding_rounds_to_half() -> None:
    x = torch.randn(100)
    assert torch.equal(encoding_of(x, FLOAT16).fake_quantize(x), x.half().float())


def test_same_as_sees_a_last_bit() -> None:
    a = encoding_of(torch.randn(8, generator=torch.Generator().manual_seed(0)), Grid(8))
    b = Encoding(a.grid, torch.nextafter(a.scale, torch.tensor(1.0)), a.offset)
    assert a.same_as(Encoding(a.grid, a.scale.clone(), a.offset.clone()))
    assert not a.same_as(b)
