"""The point of each clipping observer: less error, outliers cut, where min-max wastes the grid."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_from_range, encoding_of
from hexaquant.core.grid import Grid
from hexaquant.core.observers import make_observer
from hexaquant.core.observers.histogram import Histogram
from hexaquant.core.observers.histogram_observer import MseObserver, divergence
from hexaquant.core.observers.sampling import WHOLE

N = 1 << 14


def gaussian_with_outliers() -> Tensor:
    x = torch.randn(N)
    x[::4000] *= 20
    return x


DISTRIBUTIONS: dict[str, Callable[[], Tensor]] = {
    "gaussian": lambda: torch.randn(N),
    "gaussian with outliers": gaussian_with_outliers,
    "laplace": lambda: torch.distributions.Laplace(0.0, 2.0).sample((N,)),
    "relu": lambda: torch.randn(N).relu(),
    "relu6": lambda: (torch.randn(N) * 4).clamp(0, 6),
    "shifted": lambda: torch.distributions.Gumbel(1.0, 0.5).sample((N,)),
    "negative": lambda: -(torch.randn(N).abs() ** 1.5),
    "student": lambda: torch.distributions.StudentT(3.0).sample((N,)),
}


def draw(name: str) -> Tensor:
    torch.manual_seed(3)
    return DISTRIBUTIONS[name]()


def mse(x: Tensor, e: Encoding) -> float:
    return float((e.fake_quantize(x) - x).double().square().mean())


def observe(name: str, x: Tensor, grid: Grid, **options: float) -> Encoding:
    observer = make_observer(name, grid, **options)
    observer.update(x)
    return observer.encoding()


def brute_force(x: Tensor, grid: Grid) -> float:
    """Least MSE over a dense grid of ranges, each measured on the data."""
    low, high = float(x.min().clamp(max=0)), float(x.max().clamp(min=0))
    parts = torch.linspace(0.02, 1, 50)
    lows = low * parts if low and not grid.symmetric else torch.tensor([low if not grid.symmetric else 0.0])
    reach = max(-low, high) if grid.symmetric else high
    highs = reach * parts if reach else torch.zeros(1)
    ends = [(a, b) for a in lows for b in highs]
    return min(mse(x, encoding_from_range(a, b, grid)) for a, b in ends)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("bits", "symmetric"), [(4, False), (8, False), (8, True)])
def test_mse_is_close_to_brute_force_and_never_worse_than_min_max(name: str, bits: int, symmetric: bool) -> None:
    x, grid = draw(name), Grid(bits, symmetric=symmetric)
    got = mse(x, observe("mse", x, grid))
    assert got <= 1.02 * mse(x, encoding_of(x, grid))
    assert got <= 1.05 * brute_force(x, grid)


@pytest.mark.parametrize("name", ["gaussian", "gaussian with outliers", "laplace", "student"])
def test_mse_is_well_below_min_max_on_tails(name: str) -> None:
    x = draw(name)
    assert mse(x, observe("mse", x, Grid(4))) < 0.6 * mse(x, encoding_of(x, Grid(4)))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_sixteen_bits_are_hardly_clipped(name: str) -> None:
    x, grid = draw(name), Grid(16)
    for observer in ("mse", "sqnr", "entropy"):
        assert mse(x, observe(observer, x, grid)) <= 1.1 * mse(x, encoding_of(x, grid)) + 1e-14


@pytest.mark.parametrize("updates", [1, 8])
@pytest.mark.parametrize("name", ["gaussian", "laplace", "relu", "student", "gaussian with outliers"])
def test_sampling_costs_less_than_a_hundredth_of_the_error(name: str, updates: int) -> None:
    torch.manual_seed(0)
    big = torch.cat([DISTRIBUTIONS[name]() for _ in range(40)])
    assert big.numel() / updates > WHOLE
    whole, sampled = MseObserver(Grid(8)), MseObserver(Grid(8))
    for part in big.split(WHOLE):
        whole.update(part)
    for part in big.reshape(updates, -1):
        sampled.update(part)
    assert mse(big, sampled.encoding()) <= 1.01 * mse(big, whole.encoding())


def test_percentile_clips_at_the_quantile() -> None:
    x = torch.cat([torch.linspace(-1, 1, 10_000), torch.tensor([500.0])])
    e = observe("percentile", x, Grid(8), percentile=99.9)
    assert float(observe("min_max", x, Grid(8)).max) == pytest.approx(500, rel=0.01)
    assert float(e.max) < 2  # the bin that holds the quantile is as wide as half a unit
    y = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    e = observe("percentile", y, Grid(16), percentile=99.0)
    assert observe("percentile:99", y, Grid(16)).max == e.max
    assert float(e.max) == pytest.approx(float(y.quantile(0.99)), abs=0.01)
    assert float(e.min) == pytest.approx(float(y.quantile(0.01)), abs=0.01)
    assert float(observe("percentile", y, Grid(8), percentile=100).max) == float(encoding_of(y, Grid(8)).max)


def test_percentile_counts_the_zeros_of_relu() -> None:
    y = torch.randn(16_000, generator=torch.Generator().manual_seed(0)).relu()
    e = observe("percentile", y, Grid(16), percentile=95.0)
    assert float(e.max) == pytest.approx(float(y.quantile(0.95)), abs=0.01)
    assert float(e.min) == 0


def test_sqnr_clips_less_than_mse_because_clipping_counts_thrice() -> None:
    x = draw("laplace")
    spans = [float(e.max - e.min) for e in (observe(n, x, Grid(4)) for n in ("mse", "sqnr", "min_max"))]
    assert spans[0] < spans[1] < spans[2]
    thrice = observe("sqnr", x, Grid(4), gamma=50.0)
    assert float(thrice.max - thrice.min) > spans[1]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_sqnr_has_a_lower_weighted_cost_than_min_max(name: str, symmetric: bool) -> None:
    def cost(e: Encoding) -> float:
        q = (x / e.scale).round()
        clipped = (q < e.offset) | (q > e.offset + e.grid.levels - 1)
        return float(((e.fake_quantize(x) - x).square() * torch.where(clipped, 3.0, 1.0)).mean())

    x, grid = draw(name), Grid(8, symmetric=symmetric)
    assert cost(observe("sqnr", x, grid)) <= 1.05 * cost(encoding_of(x, grid))


def test_entropy_keeps_a_uniform_and_clips_a_tail() -> None:
    uniform = torch.rand(N) * 2 - 1
    assert float(observe("entropy", uniform, Grid(8)).max) > 0.97
    x = draw("gaussian with outliers")
    e = observe("entropy", x, Grid(8))
    assert 2.5 < float(e.max) < 0.2 * float(x.max())
    body = x[x.abs() < 2.5]
    assert mse(body, e) < 0.1 * mse(body, encoding_of(x, Grid(8)))


def test_divergence_is_tensorrts_definition() -> None:
    """Against a direct transcription with loops."""
    h = Histogram(256)
    h.add(torch.randn(5000, generator=torch.Generator().manual_seed(0)))
    edges, counts = h.trimmed(tight=False)
    lows, highs, levels = torch.tensor([-2.0, -1.5]).double(), torch.tensor([2.2, 1.0]).double(), 16
    got = divergence(edges, counts, lows, highs, levels)
    for i in range(2):
        centers = (edges[1:] + edges[:-1]) / 2
        cell = ((centers - lows[i]) / (highs[i] - lows[i]) * levels).floor()
        kept = [j for j in range(len(counts)) if 0 <= cell[j] < levels]
        p = counts[kept].clone()
        p[0] += counts[: kept[0]].sum()
        p[-1] += counts[kept[-1] + 1 :].sum()
        q = torch.zeros(len(kept), dtype=torch.float64)
        for c in range(levels):
            members = [m for m, j in enumerate(kept) if cell[j] == c and counts[j] > 0]
            q[members] = counts[kept][members].sum() / max(len(members), 1)
        p, q = p / p.sum(), q / q.sum()
        wanted = sum(float(a * (a / b).log()) for a, b in zip(p, q) if a > 0)
        assert float(got[i]) == pytest.approx(wanted, abs=1e-9)
