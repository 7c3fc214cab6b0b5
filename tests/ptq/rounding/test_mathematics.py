"""Each method makes the weights' error worse and the output's error better than rounding to the nearest."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hexaquant.ptq.rounding.adaround import adaround, flexround
from hexaquant.ptq.rounding.coordinate_descent import Integers, coordinate_descent, nearest
from hexaquant.ptq.rounding.moments import TILE, HeldOut, shrunk, shrunk_rows
from hexaquant.ptq.rounding.solve import SHRINKAGES, WITHOUT_DATA, Method, Problem, gptq, search_clips, solve
from ptq.rounding.problems import HIGH, LOW, correlated, gram, output_error, steps, weights

X, HELD = correlated(48, 600), correlated(48, 600)[:, :, 500:]


SOLVERS: dict[str, Callable[..., Integers]] = {
    "gptq": lambda W, H, G, S, low, high: gptq(H, G, S, low, high),
    "coordinate_descent": coordinate_descent,
    "adaround": adaround,
    "flexround": flexround,
}


def problem(noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """W, quantized input X~ and float output Y."""
    W = weights(16, 48)
    return W, X + noise * torch.randn(X.shape, generator=torch.Generator().manual_seed(3)), W @ X


@pytest.mark.parametrize("chunks", [1, 4])
def test_the_quadratic_form_is_the_output_error(chunks: int) -> None:
    W, x, Y = problem(0.1)
    moments, Wq = gram(x, Y, chunks=chunks), nearest(W, steps(W), LOW, HIGH).values
    wanted = Y - Wq @ x
    torch.testing.assert_close(moments.error(Wq), wanted.var(2, correction=0), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(moments.bias(Wq), wanted.mean(2), rtol=1e-3, atol=1e-4)


def test_only_half_of_a_large_gram_matrix_is_multiplied_out() -> None:
    K = TILE + 40
    x = torch.randn(1, K, 90, generator=torch.Generator().manual_seed(0))
    moments = gram(x, x[:, :3], centered=False)
    torch.testing.assert_close(moments.H, x @ x.transpose(1, 2) / 90, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["gptq", "coordinate_descent", "adaround", "flexround"])
@pytest.mark.parametrize("groups", [1, 5])
def test_outputs_get_better_while_weights_get_worse(method: str, groups: int) -> None:
    W, x = weights(12, 24, groups), correlated(24, 500, groups)
    S, Y = steps(W), W @ x
    H, G = shrunk(gram(x, Y), W, 0.01)
    plain = nearest(W, S, LOW, HIGH).values
    found = SOLVERS[method](W, H, G, S, LOW, HIGH).values
    assert output_error(x, Y, found) < (0.95 if method == "flexround" else 0.75) * output_error(x, Y, plain)
    assert float((found - W).square().mean()) > float((plain - W).square().mean())


def test_the_float_output_is_the_target_when_the_input_is_noisy() -> None:
    W, x, Y = problem(0.3)
    S, moments = steps(W) / 16, gram(x, Y)
    own, float_ = ((shrunk(moments, W, 0.01, tau)) for tau in (1.0, 0.0))
    errors = [output_error(x, Y, coordinate_descent(W, H, G, S, 16 * LOW, 16 * HIGH).values) for H, G in (own, float_)]
    assert errors[1] < 0.9 * errors[0]


def test_descent_finds_the_optimum_of_a_tiny_problem() -> None:
    W, x = weights(1, 4), correlated(4, 50)
    S, H, G = steps(W), *shrunk(gram(x, W @ x), W, 0.0)
    choices = itertools.product(*([torch.floor(w), torch.ceil(w)] for w in (W / S)[0, 0]))
    grid = torch.stack([torch.stack(q) for q in choices])[None] * S
    best = (((grid @ H) - 2 * G) * grid).sum(2).min()
    found = coordinate_descent(W, H, G, S, LOW, HIGH, sweeps=20, refit=False).values
    assert float((((found @ H) - 2 * G) * found).sum()) <= float(best) + 0.05 * abs(float(best))


@pytest.mark.parametrize("groups", [1, 3])
def test_rows_under_different_shrinkages_share_one_descent(groups: int) -> None:
    W, x = weights(6, 24, groups), correlated(24, 90, groups)
    S, moments = steps(W), gram(x, W @ x)
    pairs = [shrunk_rows(moments, W, *shrinkage) for shrinkage in SHRINKAGES]
    E, G = torch.cat([E.expand_as(W) for E, _ in pairs], 1), torch.cat([G for _, G in pairs], 1)
    many = len(SHRINKAGES)
    joint = coordinate_descent(W.repeat(1, many, 1), moments.H, G, S.repeat(1, many, 1), LOW, HIGH, extra=E)
    for shrinkage, values in zip(SHRINKAGES, joint.values.split(6, 1)):
        alone = coordinate_descent(W, *shrunk(moments, W, *shrinkage), S, LOW, HIGH).values
        torch.testing.assert_close(values, alone)


def test_integers_stay_on_the_grid_and_steps_above_their_floor() -> None:
    W, x, Y = problem()
    S, smallest = steps(W) * 0.4, steps(W) * 0.5
    H, G = shrunk(gram(x, Y), W, 0.01)
    found = coordinate_descent(W, H, G, torch.maximum(S, smallest), LOW, HIGH, smallest=smallest)
    assert float(found.Q.min()) >= LOW and float(found.Q.max()) <= HIGH
    assert torch.equal(found.Q, found.Q.round())
    assert bool((smallest * 0.9999 <= found.S).all())


def test_refitting_the_scale_helps() -> None:
    W, x, Y = problem()
    H, G = shrunk(gram(x, Y), W, 0.01)
    errors = [
        output_error(x, Y, coordinate_descent(W, H, G, steps(W), LOW, HIGH, refit=refit).values)
        for refit in (False, True)
    ]
    assert errors[1] < errors[0]


def test_clips_follow_the_output_not_the_weights() -> None:
    W, x = weights(4, 24), correlated(24, 400)
    W[0, :, 3] = 9.0
    x[:, 3] *= 0.01
    Y = W @ x
    H, G = shrunk(gram(x, Y), W, 0.0)
    factor = search_clips(W, H, G, steps(W), LOW, HIGH)
    assert bool((factor < 0.6).all())
    before, after = (nearest(W, s, LOW, HIGH).values for s in (steps(W), steps(W) * factor))
    assert output_error(x, Y, after) < 0.5 * output_error(x, Y, before)


def test_rows_that_share_a_scale_get_one_factor() -> None:
    W, x, Y = problem()
    H, G = shrunk(gram(x, Y), W, 0.0)
    factor = search_clips(W, H, G, steps(W).amax(1, keepdim=True).expand(-1, 16, 1), LOW, HIGH, shared=True)
    assert factor.unique().numel() == 1


def test_few_samples_are_not_over_fitted() -> None:
    W, x = weights(16, 128), torch.randn(1, 128, 20, generator=torch.Generator().manual_seed(2))
    unseen = torch.randn(1, 128, 400, generator=torch.Generator().manual_seed(5))
    seen, held = x[:, :, :16], x[:, :, 16:]
    task = Problem(W, steps(W), gram(seen, W @ seen), HeldOut(held, W @ held), LOW, HIGH)
    free = coordinate_descent(W, *shrunk(task.gram, W, 0.01), task.S, LOW, HIGH).values
    safe = solve(task, Method(clips=False))
    plain = nearest(W, task.S, LOW, HIGH).values
    assert safe.shrinkage != SHRINKAGES[0]
    assert output_error(unseen, W @ unseen, safe.integers.values) < output_error(unseen, W @ unseen, free)
    assert output_error(unseen, W @ unseen, safe.integers.values) < 1.1 * output_error(unseen, W @ unseen, plain)


def test_without_data_means_nearest() -> None:
    W, x, Y = problem()
    task = Problem(W, steps(W), gram(x, Y), None, LOW, HIGH)
    found = solve(task, Method("nearest", clips=False))
    assert found.shrinkage == WITHOUT_DATA
    assert torch.equal(found.integers.values, nearest(W, task.S, LOW, HIGH).values)


def test_iterating_ends_when_held_out_error_no_longer_falls() -> None:
    W, x, Y = problem()
    H, G = shrunk(gram(x, Y), W, 0.01)
    looks: list[Tensor] = []

    def rising(Wq: Tensor) -> float:
        looks.append(Wq)
        return float(len(looks))

    found = adaround(W, H, G, steps(W), LOW, HIGH, iterations=1000, error=rising)
    assert len(looks) < 8
    assert torch.equal(found.values, looks[0])
