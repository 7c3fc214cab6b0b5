"""Mixed precision: the bits go where they matter, the prediction holds, and budgets are kept."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import hexaquant as hq
from hexaquant.api.mixed import CHOICES, MixedPrecision, allowed_schemes, mixed_precision
from hexaquant.core.errors import InputError
from hexaquant.core.metrics import sqnr_db
from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import find_target
from hexaquant.ir.executor.build import build_module
from hexaquant.ptq.mixed_precision import Problem, overrides_of, pareto
from hexaquant.ptq.recipe import Recipe
from hexaquant.ptq.sensitivity import Sensitivities
from hexaquant.ptq.steps.model_steps import Calibrate
from hexaquant.ptq.units import Unit, find_units
from hexaquant.sim.planner import make_plan
from ir.onnx_text import random
from qat.rescaled import rescaled_net, smooth_images
from sim.nets import net


def chain(count: int) -> list[Unit]:
    """Units in a row, each reading the one before."""
    return [
        Unit(f"u{i}", f"u{i}", "Conv", (f"n{i}",), (f"u{i}",), f"w{i}", (i - 1,) if i else (), 10 + i, 100 * (1 + i), 7)
        for i in range(count)
    ]


def synthetic(count: int) -> Problem:
    """Random error vectors that partly cancel between neighbours."""
    generator = torch.Generator().manual_seed(3)

    def vectors(bits: tuple[int, int]) -> tuple[dict[int, Any], ...]:
        made = []
        for _ in range(count):
            vector = torch.randn(6, generator=generator) * 0.1
            made.append({bits[0]: vector, bits[1]: vector / 16 + 0.001})
        return tuple(made)

    found = Sensitivities(vectors((4, 8)), vectors((8, 16)), 1)
    return Problem(chain(count), [["w4a8", "w8a8", "w8a16", "fp16"]] * count, found)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.7])
def test_the_solver_finds_the_best_of_all_choices(share: float) -> None:
    problem = synthetic(4)
    low, high = problem.extreme("bops", False), problem.extreme("bops", True)
    budget = low + share * (high - low)
    every = [problem.choice(schemes) for schemes in itertools.product(*problem.options)]
    best = min((c for c in every if c.bops <= budget), key=lambda c: c.noise)
    found = problem.solve({"bops": budget})
    assert found.bops <= budget and found.noise <= best.noise * 1.001


def test_two_budgets_hold_at_once_and_one_that_cannot_be_met_is_named() -> None:
    problem = synthetic(4)
    size = problem.extreme("size", False) + 12
    found = problem.solve({"bops": 60_000.0, "size": size})
    assert found.bops <= 60_000 and found.size <= size
    with pytest.raises(InputError, match="the least is bops"):
        problem.solve({"bops": 10.0})


def test_the_curve_trades_cost_for_error() -> None:
    curve = pareto(synthetic(5), "bops", 6)
    assert len(curve) >= 3
    assert all(a.noise > b.noise and a.bops < b.bops for a, b in itertools.pairwise(curve))


@pytest.fixture(scope="module")
def found() -> MixedPrecision:
    return mixed_precision(rescaled_net(0.0), {"x": smooth_images(32, 1)}, budget={"bops": "120%"}, points=5)


def test_the_predicted_error_is_what_is_measured(found: MixedPrecision) -> None:
    x = smooth_images(32, 9)
    wanted = outputs(build_module(rescaled_net(0.0)), x)
    for choice in found.curve[:-1]:
        overrides = overrides_of(found.units, choice, "w8a8")
        data = {"x": smooth_images(32, 1)}
        model = hq.quantize(rescaled_net(0.0), data, recipe=Recipe("ranges", (Calibrate(),)), overrides=overrides)
        assert sqnr_db(wanted, outputs(model, x)) == pytest.approx(choice.sqnr_db, abs=3)


def outputs(module: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(module(torch.from_numpy(x)).numpy())


def test_the_bits_go_to_the_layer_that_needs_them() -> None:
    """The second layer subtracts two nearly equal halves of the first one's output: 8 bits there lose everything."""
    w1 = np.zeros((8, 3, 1, 1), np.float32)
    for row in range(8):
        w1[row, row // 2 % 3] = 10.0 if row % 2 else 10.2
    w2 = np.kron(np.eye(4, dtype=np.float32), np.float32([[1, -1]])).reshape(4, 8, 1, 1)
    text = "(float[N,3,6,6] x) => (float[N,32,4,4] y) { a = Conv (x, w1)\n b = Conv (a, w2)\n y = Conv (b, w3) }"
    graph = net(text, w1=w1, w2=w2, w3=random(32, 4, 3, 3))
    done = mixed_precision(
        graph, {"x": random(16, 3, 6, 6)}, budget={"bops": "130%"}, choices=("w8a8", "w8a16"), points=2
    )
    chosen = {unit.name: scheme for unit, scheme in zip(done.units, done.choice.schemes)}
    assert chosen["a"] == "w8a16" and chosen["y"] == "w8a8"
    assert done.choice.sqnr_db > done.reference.sqnr_db + 6


def test_only_what_the_target_executes_is_chosen() -> None:
    graph = net("(float[N,4,5,5] x) => (float[N,4,5,5] y) { s = Selu (x)\n y = Conv (s, w) }", w=random(4, 4, 1, 1))
    units = find_units(graph, make_plan(graph, find_target("sm8650"), SCHEMES["w8a8"]))
    assert [unit.name for unit in units] == ["x", "s", "y"]
    schemes, soc = [SCHEMES[name] for name in CHOICES], find_target("sm8650")
    allowed = {unit.name: allowed_schemes(graph, unit, schemes, soc) for unit in units}
    assert allowed["s"] == ["fp16"]
    assert set(allowed["y"]) == {"w4a8", "w8a8", "w4a16", "w8a16", "fp16"}
    assert set(allowed["x"]) == {"w8a8", "w8a16", "fp16"}


def test_units_take_in_what_is_fused_and_count_their_work() -> None:
    graph = rescaled_net(0.0)
    units = {unit.name: unit for unit in find_units(graph, make_plan(graph, find_target("sm8650"), SCHEMES["w8a8"]))}
    assert units["a"].tensors == ("a", "ar") and units["a"].macs == 16 * 16 * 16 * 27 and units["a"].parameters == 432
    assert units["d"].macs == 16 * 16 * 16 * 9 and units["y"].macs == 160
    names = list(units)
    assert [names[i] for i in units["y"].reads] == ["m"]


def test_bad_budgets_are_named() -> None:
    data = {"x": smooth_images(4, 1)}
    for budget, words in (({"bops": "lots"}, "no number"), ({"watts": 3}, "no budget 'watts'"), ({"size": 0}, "zero")):
        with pytest.raises(InputError, match=words):
            mixed_precision(rescaled_net(0.0), data, budget=budget)  # type: ignore[arg-type]
