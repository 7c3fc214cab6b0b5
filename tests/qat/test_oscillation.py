"""Oscillating weights are recognised, dampened and frozen as in the paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import hexaquant as hq
from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import InputError
from hexaquant.core.grid import Grid, PerChannel
from hexaquant.qat.oscillation import MOMENTUM, Tracker, dampening, rising, threshold
from qat.normed import images, ptq

GRID = Encoding(Grid(4, True, True, PerChannel(0)), torch.tensor([0.1, 0.2]), torch.full((2,), -8.0))


def test_dampening_is_the_papers_formula_and_draws_to_the_middle() -> None:
    w = torch.tensor([[0.13, -0.3, 5.0], [0.5, 0.0, -9.0]], requires_grad=True)
    loss = dampening(w, GRID)
    assert float(loss) == pytest.approx((0.3**2 + 0.5**2) / 6, rel=1e-4)
    loss.backward()
    expected = torch.tensor([[2 * 0.3 / 0.1, 0, 0], [2 * 0.5 / 0.2, 0, 0]]) / 6
    torch.testing.assert_close(w.grad, expected, rtol=1e-4, atol=1e-4)


def test_dampening_gradients_are_true_derivatives_in_float64() -> None:
    grid = Encoding(
        Grid(4, True, True), torch.tensor(0.1, dtype=torch.float64), torch.tensor(-8.0, dtype=torch.float64)
    )
    w = torch.tensor([0.13, -0.31, 5.0, 0.04], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: dampening(v, grid), w)


def weights(first: float) -> Tensor:
    """The first element is what it is told; the others rest."""
    return torch.tensor([[first, 0.3, -0.2], [0.4, 0.2, 0.0]])


def test_only_changes_against_the_last_direction_are_oscillations() -> None:
    tracker = Tracker(weights(0.0), GRID)
    for value in (0.1, 0.2, 0.3):  # wanders, always up
        tracker.follow(weights(value), GRID, None)
    assert float(tracker.frequency.max()) == 0
    tracker.follow(weights(0.2), GRID, None)
    assert float(tracker.frequency[0, 0]) == pytest.approx(MOMENTUM)
    tracker.follow(weights(0.2), GRID, None)
    assert float(tracker.frequency[0, 0]) == pytest.approx(MOMENTUM * (1 - MOMENTUM))
    tracker.follow(weights(0.3), GRID, None)  # against the last change, though a step lay between
    assert float(tracker.frequency[0, 0]) == pytest.approx(MOMENTUM + MOMENTUM * (1 - MOMENTUM) ** 2)
    assert int((tracker.frequency > 0).sum()) == 1


def test_a_weight_that_oscillates_is_frozen_at_its_average_integer() -> None:
    tracker, w = Tracker(weights(0.1), GRID), weights(0.1)
    for step in range(60):
        w = weights(0.1 if step % 4 else 0.2)
        tracker.follow(w, GRID, 0.1)
    assert tracker.frozen.tolist() == [[True, False, False], [False, False, False]]
    assert float(w[0, 0]) == pytest.approx(0.1)
    w = weights(0.7)
    tracker.follow(w, GRID, 0.1)
    assert float(w[0, 0]) == pytest.approx(0.1)
    wider = Encoding(GRID.grid, GRID.scale * 2, GRID.offset)
    tracker.follow(w, wider, 0.1)  # the integer is kept, the scale goes on
    assert float(w[0, 0]) == pytest.approx(0.2)


def test_schedules() -> None:
    assert rising(0, 100) == 0 and rising(100, 100) == pytest.approx(1)
    assert threshold(0, 100, 0.01) == pytest.approx(0.04) and threshold(100, 100, 0.01) == pytest.approx(0.01)


def distance_to_grid(model: hq.QuantizedModel) -> float:
    weight, quantizer = model.parameters_by_name()["conv1.weight"].detach(), model.quantizers["conv1.weight"]
    return float(dampening(weight, quantizer.encoding))


def test_in_training_dampening_and_freezing_do_what_they_say() -> None:
    data = [images(16, seed) for seed in range(4)]
    plain, damped, frozen = (ptq("w4a8") for _ in range(3))
    options = {"steps": 40, "lr": 3e-2, "warmup": 0.0, "batch_size": 16}
    hq.finetune(plain, data, **options)
    hq.finetune(damped, data, dampening=3.0, **options)
    done = hq.finetune(frozen, data, freeze_oscillations=0.009, **options)
    assert distance_to_grid(damped) < 0.5 * distance_to_grid(plain)
    assert 0 < done.frozen < 0.9


def test_bad_factors_are_refused() -> None:
    model = ptq()
    with pytest.raises(InputError, match="dampening"):
        hq.finetune(model, [images(4)], dampening=-1.0)
    with pytest.raises(InputError, match="frequency"):
        hq.finetune(model, [images(4)], freeze_oscillations=1.5)
