"""Clipped weight encodings have less error than min-max, scale by scale."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hexaquant.core.encoding import encoding_from_range, encoding_of, range_of
from hexaquant.core.grid import FLOAT16, Granularity, Grid, Lpbq, PerBlock, PerChannel, PerTensor
from hexaquant.core.observers import mse_weight_encoding
from hexaquant.core.observers.weight_mse import squared_error


def weight() -> Tensor:
    torch.manual_seed(0)
    w = torch.distributions.Laplace(0.0, 0.05).sample((24, 64, 3, 3)) * torch.logspace(-2, 1, 24)[:, None, None, None]
    w[5] = 0
    return w


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(0), PerChannel(1), PerBlock(1, 16)], ids=str)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_no_scale_is_worse_than_min_max_and_most_are_better(
    granularity: Granularity, symmetric: bool, bits: int
) -> None:
    w, grid = weight(), Grid(bits, True, symmetric, granularity)
    clipped, plain = squared_error(w, mse_weight_encoding(w, grid)), squared_error(w, encoding_of(w, grid))
    assert clipped.shape == plain.shape
    assert bool((clipped <= plain * 1.0001).all())
    assert float(clipped.sum()) < (0.96 if bits == 4 else 1.0) * float(plain.sum())


def test_close_to_the_best_of_a_dense_search() -> None:
    w, grid = weight(), Grid(4, True, True, PerChannel(0))
    low, high = range_of(w, PerChannel(0))
    dense = [squared_error(w, encoding_from_range(low * f, high * f, grid)) for f in torch.linspace(0.2, 1, 400)]
    best = torch.stack(dense).amin(0)
    assert bool((squared_error(w, mse_weight_encoding(w, grid)) <= 1.02 * best + 1e-12).all())


@pytest.mark.parametrize(("shape", "lpbq"), [((64, 128), Lpbq(1, 32)), ((128, 64), Lpbq(0, 32, 1))], ids=str)
def test_lpbq_blocks_are_clipped_too(shape: tuple[int, int], lpbq: Lpbq) -> None:
    torch.manual_seed(0)
    w = torch.distributions.StudentT(3.0).sample(shape)
    grid = Grid(4, True, True, lpbq)
    e = mse_weight_encoding(w, grid)
    assert e.block_scale is not None
    assert torch.equal(e.block_scale, e.block_scale.round().clamp(1, 16))
    assert float(squared_error(w, e).sum()) < 0.95 * float(squared_error(w, encoding_of(w, grid)).sum())


def test_float_grid_stays_float_and_the_weight_is_left_alone() -> None:
    w = weight().requires_grad_()
    before = w.detach().clone()
    assert mse_weight_encoding(w, FLOAT16).grid.is_float
    e = mse_weight_encoding(w, Grid(4, True, True, PerChannel(0)))
    assert not e.scale.requires_grad
    assert torch.equal(w.detach(), before)
