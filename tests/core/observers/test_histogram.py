"""The streaming histogram is exact but for its sampling, and the sampling covers the whole tensor."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hexaquant.core.errors import InputError
from hexaquant.core.observers.histogram import Histogram
from hexaquant.core.observers.noise import expected_noise
from hexaquant.core.observers.sampling import ROW, TAIL_ROWS, WHOLE, flat, sample, stride_for


def test_counts_equal_numpy_after_any_growth() -> None:
    torch.manual_seed(0)
    batches = [torch.randn(5000) * 3**s for s in range(-4, 5)]
    h = Histogram()
    for batch in batches:
        h.add(batch)
    every = torch.cat(batches).double().numpy()
    assert np.array_equal(h.counts.numpy(), np.histogram(every, h.edges.numpy())[0])
    assert h.total == every.size
    used = int((h.counts > 0).nonzero().max() - (h.counts > 0).nonzero().min()) + 1
    assert h.bins / 2 - 2 <= used <= h.bins


def test_zeros_are_counted_apart() -> None:
    h = Histogram()
    h.add(torch.randn(10_000, generator=torch.Generator().manual_seed(0)).relu())
    assert 4500 < h.zeros < 5500
    assert h.total == 10_000
    assert float(h.counts.sum()) == 10_000 - h.zeros


@pytest.mark.parametrize("shape", [(16, 96, 56, 56), (1, 32, 112, 112), (64, 960, 7, 7), (3, 65536), (17, 19, 1000)])
def test_the_stride_is_coprime_with_every_dimension(shape: tuple[int, ...]) -> None:
    n = int(np.prod(shape))
    k = stride_for(n)
    assert n > WHOLE
    assert 17 <= k < 60
    assert all(np.gcd(k, size) == 1 for size in shape)


def test_samples_visit_all_channels_evenly_and_every_element_in_turn() -> None:
    shape = (1, 32, 56, 56)
    channel = torch.arange(32.0)[None, :, None, None].expand(shape).contiguous()
    k = stride_for(channel.numel())
    drawn = sample(channel, 0)
    counts = torch.bincount(drawn.taken.int())
    assert int(counts.max() - counts.min()) <= 1
    assert drawn.weight == pytest.approx(k, rel=0.01)
    ids = torch.arange(channel.numel())
    visited = torch.cat([sample(ids, phase).taken for phase in range(k)])
    assert torch.equal(visited.sort().values, ids)


def test_flat_does_not_copy_dense_layouts() -> None:
    x = torch.randn(2, 8, 5, 5)
    for dense in (x, x.to(memory_format=torch.channels_last), x.permute(3, 1, 0, 2)):
        assert flat(dense).data_ptr() == dense.data_ptr()
        assert torch.equal(flat(dense).sort().values, x.flatten().sort().values)


def test_range_stays_exact_when_sampled() -> None:
    x = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    x[12345], x[54321] = 77.25, -66.5
    h = Histogram()
    h.add(x)
    assert (h.range.low, h.range.high) == (-66.5, 77.25)
    assert h.total == pytest.approx(1_000_000, rel=1e-2)
    assert int(h.counts.nonzero().max()) == math.ceil(77.25 / h.width) - 1 - h.start


@pytest.mark.parametrize("phase", [0, 1, 5])
def test_tails_of_a_sampled_tensor_are_counted_exactly(phase: int) -> None:
    torch.manual_seed(0)
    x = torch.distributions.StudentT(3.0).sample((999_999,))
    h = Histogram()
    h.updates = phase
    h.add(x)
    exact = torch.from_numpy(np.histogram(x.double().numpy(), h.edges.numpy())[0])
    far = 999_999 // (ROW * TAIL_ROWS)  # elements on each side that must be exact
    lower, upper = int((exact.cumsum(0) < far).sum()), h.bins - int((exact.flip(0).cumsum(0) < far).sum())
    assert float((h.counts[:lower] - exact[:lower]).abs().max()) < 1e-4
    assert float((h.counts[upper:] - exact[upper:]).abs().max()) < 1e-4
    assert int(exact[:lower].sum()) > 50
    body = slice(h.bins // 4, 3 * h.bins // 4)
    assert float(h.counts[body].sum()) == pytest.approx(float(exact[body].sum()), rel=0.01)


def test_rare_positives_do_not_disturb_the_zeros() -> None:
    torch.manual_seed(0)
    x = -torch.randn(700_000).relu()
    x[::200_000] = 1.0
    h = Histogram()
    h.add(x)
    assert float(h.counts.min()) > -1e-6
    assert h.zeros == pytest.approx(float((x == 0).sum()), rel=0.02)


@pytest.mark.parametrize("bits", [2, 4, 8, 12, 16])
def test_expected_noise_is_the_measured_noise(bits: int) -> None:
    torch.manual_seed(1)
    x = torch.randn(400_000, dtype=torch.float64)
    h = Histogram()
    for part in x.float().split(WHOLE):
        h.add(part)
    levels = 2**bits
    low, high = torch.tensor([-4.0, -2.0, -1.0]).double(), torch.tensor([4.5, 3.0, 1.5]).double()
    scale = (high - low) / (levels - 1)
    offset = (low / scale).round()
    edges, counts = h.trimmed()
    for weight in (1.0, 3.0):
        got = expected_noise(edges, counts, scale, offset, levels, weight)
        for i in range(3):
            steps = (x / scale[i]).round()
            clipped = (steps < offset[i]) | (steps > offset[i] + levels - 1)
            y = steps.clamp(float(offset[i]), float(offset[i]) + levels - 1) * scale[i]
            wanted = ((x - y).square() * torch.where(clipped, weight, 1.0)).sum()
            assert float(got[i]) == pytest.approx(float(wanted), rel=0.01)


def test_too_few_bins_are_refused() -> None:
    with pytest.raises(InputError, match="64 bins"):
        Histogram(10)
