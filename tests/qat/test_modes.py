"""PACT and moving ranges start at the PTQ result, follow their papers' formulas, and stay legal whatever comes."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

import hexaquant as hq
from hexaquant.core.encoding import MIN_SCALE, Encoding, encoding_from_range, encoding_of
from hexaquant.core.errors import InputError
from hexaquant.core.grid import Grid, Lpbq, PerChannel
from hexaquant.core.metrics import sqnr_db
from hexaquant.qat.learn import MODES, LearnedEncoding, freeze_encodings, learn_encodings
from hexaquant.qat.moving_average import FollowingRange, MovingRange
from hexaquant.qat.pact import PactEncoding, pact_gradients
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.plan import TensorPlan
from ir.onnx_text import random, run
from qat.rescaled import rescaled_net, smooth_images
from sim.nets import conv_net, quantized

X = torch.from_numpy(random(5, 3, 8, 8, seed=7))
NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=32)
UNSIGNED, SIGNED, ROWS = Grid(8), Grid(8, symmetric=True), Grid(4, True, True, PerChannel(0))


@pytest.fixture(scope="module", params=["w8a8", "w4a8", "w8a16"])
def calibrated(request: pytest.FixtureRequest) -> QuantizedModel:
    return quantized(conv_net(), request.param)


def plan(grid: Grid, clamp: tuple[float | None, float | None] | None = None) -> TensorPlan:
    return TensorPlan("t", "activation", "observed", grid, clamp=clamp)


def ranged(low: float, high: float, grid: Grid) -> Encoding:
    return encoding_from_range(torch.tensor(low), torch.tensor(high), grid)


def assert_legal(encoding: Encoding) -> None:
    """Scales positive and finite, offsets integers on the grid."""
    assert bool(torch.isfinite(encoding.scale).all()) and float(encoding.scale.min()) >= MIN_SCALE
    assert torch.equal(encoding.offset, encoding.offset.round())
    assert float(encoding.offset.min()) >= 1 - encoding.grid.levels and float(encoding.offset.max()) <= 0


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_starts_at_the_ptq_result_to_the_last_bit(calibrated: QuantizedModel, mode: str) -> None:
    model = copy.deepcopy(calibrated)
    with torch.no_grad():
        before = model(X)
    encodings = model.encodings()
    learn_encodings(model, mode=mode)
    assert torch.equal(model(X).detach(), before)
    assert all(encoding.same_as(encodings[name]) for name, encoding in model.encodings().items())


@pytest.mark.parametrize("mode", ["pact", "ema"])
def test_training_and_inference_quantize_alike_and_freezing_keeps_it(calibrated: QuantizedModel, mode: str) -> None:
    model = copy.deepcopy(calibrated)
    learn_encodings(model, mode=mode)
    groups = [{"params": model.weight_parameters()}, {"params": model.encoding_parameters()}]
    optimizer = torch.optim.SGD([group for group in groups if group["params"]], lr=1e-2)
    before = model.encodings()
    model.train()
    for _ in range(4):
        optimizer.zero_grad()
        model(X).square().mean().backward()
        optimizer.step()
    model.eval()
    trained = model(X).detach()
    assert not model.encodings()["y"].same_as(before["y"])
    freeze_encodings(model)
    with torch.no_grad():
        assert torch.equal(model(X), trained)


def test_modes_can_be_mixed_by_glob_and_unknown_ones_are_refused() -> None:
    model = quantized(conv_net())
    assert learn_encodings(model, {"w*": "fixed", "x": "pact", "*": "ema"}) == ["x", "r", "y"]
    kinds = {n: type(q.learned) for n, q in model.quantizers.items() if getattr(q, "learned", None) is not None}
    assert kinds == {"x": PactEncoding, "r": MovingRange, "y": MovingRange}
    with pytest.raises(InputError, match="lsq, pact, ema, fixed"):
        learn_encodings(model, mode="dorefa")


def test_pact_gradients_are_the_papers_formula_in_float64() -> None:
    x = torch.tensor([-3.0, -1.0, 0.2, 1.9, 2.0, 5.0], dtype=torch.float64)
    grad = torch.arange(1.0, 7.0, dtype=torch.float64)
    low, high = torch.tensor(-1.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    grad_x, grad_low, grad_high = pact_gradients(grad, x, low, high)
    assert grad_x.tolist() == [0, 0, 3, 4, 0, 0]
    assert float(grad_low) == 1 + 2 and float(grad_high) == 5 + 6
    outside = torch.tensor([-3.0, 5.0], dtype=torch.float64)
    ends = [end.clone().requires_grad_() for end in (low, high)]
    assert torch.autograd.gradcheck(lambda a, b: torch.minimum(torch.maximum(outside, a), b), ends)


def test_pact_trains_the_logarithms_of_both_ends() -> None:
    start = ranged(-1.0, 3.0, UNSIGNED)
    learned = PactEncoding(start, torch.tensor(math.inf))
    x = torch.tensor([-2.0, 0.5, 4.0, 9.0])
    learned(x).sum().backward()
    assert float(learned.log_high.grad) == pytest.approx(2 * float(start.max))
    assert float(learned.log_low.grad) == pytest.approx(float(start.min))
    with torch.no_grad():
        learned.log_high.add_(math.log(2))
    moved = learned.encoding()
    assert float(moved.max) == pytest.approx(2 * float(start.max), rel=0.01)
    assert float(moved.min) == pytest.approx(float(start.min), abs=float(moved.scale))


def test_pact_clips_each_weight_channel_by_itself() -> None:
    w = torch.tensor([[1.0, -2.0, 0.3], [0.1, 0.1, -0.2]])
    start = Encoding(ROWS, torch.tensor([0.1, 0.1]), torch.full((2,), -8.0))
    learned = PactEncoding(start, torch.full((2,), math.inf))
    learned(w).sum().backward()
    assert learned.log_high.grad.tolist() == pytest.approx([0.1 * 7 - 0.1 * 8, 0.0])


@settings(max_examples=60, deadline=None)
@given(NUMBERS, NUMBERS, st.floats(-100, 0), st.floats(0, 100), st.sampled_from([UNSIGNED, SIGNED, Grid(16)]))
def test_no_parameter_makes_a_pact_range_illegal(p: float, q: float, low: float, high: float, grid: Grid) -> None:
    learned = PactEncoding(ranged(low, high, grid), torch.tensor(math.inf))
    with torch.no_grad():
        learned.log_high.fill_(p)
        if learned.log_low is not None:
            learned.log_low.fill_(q)
    assert_legal(learned.encoding())


@settings(max_examples=60, deadline=None)
@given(NUMBERS, NUMBERS, st.floats(-100, 0), st.floats(0, 100), st.sampled_from([UNSIGNED, SIGNED, Grid(16)]))
def test_no_parameter_makes_a_learned_scale_illegal(p: float, u: float, low: float, high: float, grid: Grid) -> None:
    learned = LearnedEncoding(plan(grid), ranged(low, high, grid))
    with torch.no_grad():
        learned.log_scale.fill_(p)
        if learned.shift is not None:
            learned.shift.fill_(u)
    assert_legal(learned.encoding())


@settings(max_examples=60, deadline=None)
@example([[3.4e38], [1.0]], False)
@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=5), min_size=1, max_size=4), st.booleans())
def test_no_batch_makes_a_moving_range_illegal(batches: list[list[float]], clipped: bool) -> None:
    clamp = (0.0, 6.0) if clipped else None
    learned = MovingRange(plan(UNSIGNED, clamp), ranged(0.0 if clipped else -1.0, 2.0, UNSIGNED), momentum=0.5)
    for batch in batches:
        learned(torch.tensor(batch))
        assert_legal(learned.encoding())
        assert not clipped or float(learned.encoding().max) <= 6.0


@settings(max_examples=60, deadline=None)
@example([3.4e38, 1.0, 1.0, -3.4e38, 0.0, 1.0], False)
@given(st.lists(NUMBERS, min_size=6, max_size=6), st.booleans())
def test_no_weight_makes_a_following_range_illegal(values: list[float], dead: bool) -> None:
    start = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0] if dead else [3.0, 1.0, 1.0]])
    learned = FollowingRange(encoding_of(start, ROWS), start)
    learned(torch.tensor(values).reshape(2, 3))
    assert_legal(learned.encoding())


def test_a_moving_range_is_the_average_of_what_it_saw() -> None:
    learned = MovingRange(plan(UNSIGNED), ranged(-1.0, 3.0, UNSIGNED), momentum=0.75)
    learned(torch.tensor([-5.0, 7.0]))
    assert float(learned.low) == pytest.approx(0.75 * float(ranged(-1.0, 3.0, UNSIGNED).min) - 1.25)
    assert float(learned.high) == pytest.approx(0.75 * float(ranged(-1.0, 3.0, UNSIGNED).max) + 1.75)
    learned.eval()
    before = learned.encoding()
    learned(torch.tensor([-500.0, 700.0]))
    assert learned.encoding() is before


@pytest.mark.parametrize("grid", [ROWS, Grid(4, True, True, Lpbq(1, 3, 0))], ids=["channel", "lpbq"])
def test_a_following_range_keeps_the_share_that_was_clipped(grid: Grid) -> None:
    w = torch.from_numpy(np.float32([[1.0, -2.0, 0.5, 0.1, 0.2, 0.3], [3.0, 1.0, 1.0, 1.0, 2.0, 1.0]]))
    tight = encoding_of(w, grid)
    start = Encoding(grid, tight.scale * 0.7, tight.offset, tight.block_scale)
    learned = FollowingRange(start, w)
    learned(w * torch.tensor([[2.0], [0.5]]))
    assert torch.allclose(learned.encoding().scale, start.scale * torch.tensor([2.0, 0.5]))


def test_ranges_that_follow_training_recover_from_calibration_on_other_data() -> None:
    """Calibrated on images of a third of the contrast: fixed ranges clip for ever, the others widen."""
    train, held_out = smooth_images(320, 50), smooth_images(128, 99)
    graph, quality = rescaled_net(0.3), {}
    reference = run(graph, {"x": held_out})[0]
    for mode in MODES:
        model = hq.quantize(graph, train[:64] / 3, recipe="plain")
        hq.finetune(model, train, steps=40, mode=mode, encoding_lr=2e-2)
        with torch.no_grad():
            quality[mode] = sqnr_db(reference, model(torch.from_numpy(held_out)).numpy())
    assert all(quality[mode] > quality["fixed"] + 2 for mode in ("lsq", "pact", "ema")), quality


def test_a_dead_channel_trains_in_every_mode() -> None:
    for mode in MODES:
        model = quantized(conv_net())
        with torch.no_grad():
            model.parameters_by_name()["w"][2] = 0
        learn_encodings(model, mode=mode)
        model.train()
        out: Tensor = model(X)
        out.square().mean().backward()
        freeze_encodings(model)
        assert all(
            bool(torch.isfinite(e.scale).all()) and bool((e.scale > 0).all()) for e in model.encodings().values()
        )
