"""What every observer keeps: streaming, resuming, refusing bad data, always including zero."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_of
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.core.grid import FLOAT16, Grid, PerChannel
from hexaquant.core.observers import OBSERVERS, Observer, make_observer

NAMES = list(OBSERVERS)


def laplace(*shape: int, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return torch.distributions.Laplace(0.2, 1.0).sample(shape)


def observed(name: str, batches: list[Tensor], grid: Grid | None = None) -> Encoding:
    observer = make_observer(name, grid or Grid(8))
    for batch in batches:
        observer.update(batch)
    return observer.encoding()


def test_min_max_covers_exactly_what_was_seen() -> None:
    x = laplace(4, 3, 50, 50)
    assert observed("min_max", list(x)).same_as(encoding_of(x, Grid(8)))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "moving_average"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_order_and_batching_do_not_matter(name: str, symmetric: bool) -> None:
    x = laplace(16000) * torch.linspace(0.01, 10, 16000)
    grid = Grid(8, symmetric=symmetric)
    whole = observed(name, [x], grid)
    assert observed(name, list(x.split(700)), grid).same_as(whole)
    assert observed(name, list(x.split(3000))[::-1], grid).same_as(whole)


def test_moving_average_forgets_an_early_outlier() -> None:
    batches = [torch.tensor([-1.0, 100.0])] + [torch.tensor([-1.0, 2.0])] * 40
    e = observed("moving_average", batches)
    assert 2 < float(e.max) < 4
    assert float(observed("min_max", batches).max) == pytest.approx(100, rel=0.01)


def test_moving_average_follows_its_formula() -> None:
    observer = make_observer("moving_average", Grid(8), momentum=0.5)
    for high in (1.0, 2.0, 4.0):
        observer.update(torch.tensor([0.0, high]))
    assert float(observer.encoding().max) == pytest.approx(2.75)


@pytest.mark.parametrize("name", NAMES)
def test_state_resumes_where_it_was(name: str) -> None:
    batches = [laplace(2, 40_000, seed=s) * (s + 1) for s in range(4)]
    whole, first, second = (make_observer(name, Grid(8)) for _ in range(3))
    for batch in batches:
        whole.update(batch)
    for batch in batches[:2]:
        first.update(batch)
    second.load_state(first.state())
    for batch in batches[2:]:
        second.update(batch)
    assert second.encoding().same_as(whole.encoding())
    assert all(t.device.type == "cpu" for t in first.state().values())


@pytest.mark.parametrize("name", NAMES)
def test_state_is_a_copy(name: str) -> None:
    observer = make_observer(name, Grid(8))
    observer.update(laplace(100))
    saved, before = observer.state(), {k: v.clone() for k, v in observer.state().items()}
    observer.update(laplace(100) * 9)
    observer.encoding()
    assert all(torch.equal(saved[k], before[k]) for k in before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_refused(name: str, bad: float) -> None:
    x = torch.randn(1000)
    x[777] = bad
    with pytest.raises(InputError, match="NaN or infinite"):
        make_observer(name, Grid(8)).update(x)


@pytest.mark.parametrize("name", NAMES)
def test_no_data_and_empty_data_are_refused(name: str) -> None:
    observer = make_observer(name, Grid(8))
    with pytest.raises(InputError, match="no calibration data"):
        observer.encoding()
    with pytest.raises(InputError, match="empty"):
        observer.update(torch.empty(0, 3))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("symmetric", [False, True])
def test_odd_tensors_get_legal_encodings(name: str, bits: int, symmetric: bool) -> None:
    odd = {
        "zeros": torch.zeros(100),
        "constant": torch.full((100,), 3.7),
        "negative constant": torch.full((100,), -0.3),
        "one element": torch.tensor(5.0),
        "tiny": torch.randn(100) * 1e-42,
        "huge": torch.randn(100) * 1e30,
        "positive": torch.rand(100_000) + 1,
        "integers": torch.arange(-5, 300),
        "bool": torch.tensor([True, False]),
        "float64": torch.rand(100, dtype=torch.float64),
        "bfloat16": torch.rand(100).bfloat16(),
    }
    for label, x in odd.items():
        e = observed(name, [x, x], Grid(bits, symmetric=symmetric))
        assert float(e.scale) > 0, label
        assert float(e.min) <= 0 <= float(e.max), label
        if label == "constant":
            assert float(e.fake_quantize(x)[0]) == pytest.approx(3.7, abs=0.51 * float(e.scale) + 1e-6), label


@pytest.mark.parametrize("name", NAMES)
def test_a_step_beyond_1e30_is_refused(name: str) -> None:
    with pytest.raises(EncodingError, match="beyond 1e30 a step"):
        observed(name, [torch.tensor([0.0, 3e38])])


@pytest.mark.parametrize("name", NAMES)
def test_batches_are_not_kept_alive_or_changed(name: str) -> None:
    observer = make_observer(name, Grid(8))
    x = laplace(1000)
    kept = x.clone()
    observer.update(x)
    assert torch.equal(x, kept)
    x.fill_(1e6)
    assert float(observer.encoding().max) < 100


def test_all_are_observers() -> None:
    assert all(isinstance(make_observer(name, Grid(8)), Observer) for name in NAMES)


def test_unknown_names_options_and_grids_are_refused() -> None:
    with pytest.raises(InputError, match="unknown observer 'median'; choose one of min_max"):
        make_observer("median", Grid(8))
    with pytest.raises(InputError, match="does not take"):
        make_observer("min_max", Grid(8), gamma=3)
    with pytest.raises(InputError, match="percentile"):
        make_observer("percentile", Grid(8), percentile=0.99)
    for name, words in (("percentile:30", "50, 100"), ("percentile:x", "not a number"), ("mse:3", "only percentile")):
        with pytest.raises(InputError, match=words):
            make_observer(name, Grid(8))
    for grid in (FLOAT16, Grid(8, granularity=PerChannel(0))):
        with pytest.raises(EncodingError, match="per-tensor"):
            make_observer("mse", grid)


@pytest.mark.parametrize(("bits", "low", "high"), [(8, -3.0, 4.0), (16, -1.0, 2.0), (8, 0.0, 255.0), (16, -9.0, 0.0)])
@pytest.mark.parametrize("symmetric", [False, True])
def test_whole_numbers_lie_exactly_on_the_grid(bits: int, low: float, high: float, symmetric: bool) -> None:
    numbers = torch.arange(low, high + 1)
    encoding = observed("whole", [numbers], Grid(bits, symmetric=symmetric))
    steps = numbers / encoding.scale
    assert float(encoding.min) <= low and (symmetric or float(encoding.max) >= high)
    assert float(encoding.scale) > 1 or torch.equal(steps.round() * encoding.scale, numbers)


def test_other_ranges_miss_whole_numbers() -> None:
    numbers = torch.tensor([-3.0, 0.0, 1.0, 4.0])
    scale = observed("min_max", [numbers], Grid(16)).scale
    assert not torch.equal((numbers / scale).round() * scale, numbers)
