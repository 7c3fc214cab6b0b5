"""Statistics of tensors: ranges, clipping, histograms, outlier channels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from analysis.nets import quantized_net, samples
from hexaquant.analysis.sensitivity import find_sites
from hexaquant.analysis.statistics import SHOWN_BINS, TensorMeter, collect_meters
from hexaquant.core.encoding import encoding_from_range
from hexaquant.core.grid import Grid


def meter(low: float, high: float) -> TensorMeter:
    return TensorMeter(encoding_from_range(torch.tensor(low), torch.tensor(high), Grid(8)), 1)


def test_streamed_batches_give_the_figures_of_all_values() -> None:
    x = torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    seen = meter(-1.0, 1.0)
    for part in x.split(2):
        seen.add(part)
    found = seen.statistics("t", "activation")
    assert (found.min, found.max) == (float(x.min()), float(x.max()))
    assert found.mean == pytest.approx(float(x.mean()), abs=1e-6)
    assert found.std == pytest.approx(float(x.std(correction=0)), rel=1e-5)
    half = float(seen.encoding.scale) / 2
    beyond = (x < float(seen.encoding.min) - half) | (x > float(seen.encoding.max) + half)
    assert found.clipped_fraction == pytest.approx(float(beyond.float().mean()))
    assert found.shape == (4, 5, 5)


def test_the_histogram_has_equal_bins_that_hold_every_value() -> None:
    x = torch.relu(torch.randn(4000, generator=torch.Generator().manual_seed(1)))
    seen = meter(0.0, 4.0)
    seen.add(x.reshape(10, 400))
    shown = seen.statistics("t", "activation").histogram
    counts = shown["counts"]
    assert len(counts) <= SHOWN_BINS and sum(counts) == 4000
    edges = np.linspace(shown["low"], shown["high"], len(counts) + 1)
    expected, _ = np.histogram(x[x > 0].numpy(), edges)
    zero_bin = counts.index(max(counts))
    assert abs(counts[zero_bin] - int((x == 0).sum())) <= expected[zero_bin]
    assert counts[-1] == expected[-1]


def test_a_channel_that_reaches_far_is_an_outlier() -> None:
    x = torch.rand(2, 8, 3, 3, generator=torch.Generator().manual_seed(2)) + 0.5
    x[:, 5] *= 20
    seen = meter(0.0, 30.0)
    seen.add(x)
    (outlier,) = seen.statistics("t", "activation").outlier_channels
    assert outlier.channel == 5 and 15 < outlier.ratio < 30


def test_every_quantizer_is_seen_and_activations_after_their_merged_function() -> None:
    model = quantized_net()
    sites = find_sites(model)
    seen = collect_meters(model, {}, sites, [{"x": samples(4)}, {"x": samples(2, seed=1)}])
    assert set(seen) == {site.name for site in sites}
    assert seen["ra"].histogram.range.low == 0.0
    assert seen["ra"].count == 6 * 6 * 8 * 8 and seen["w1"].count == 6 * 3 * 3 * 3
    narrow = dataclasses.replace(model.quantizers["rd"].encoding, scale=model.quantizers["rd"].encoding.scale / 4)
    model.quantizers["rd"].encoding = narrow
    clipped = collect_meters(model, {}, sites, [{"x": samples(4)}])["rd"].statistics("rd", "activation")
    assert clipped.clipped_fraction > 10 * seen["rd"].statistics("rd", "activation").clipped_fraction + 0.01
