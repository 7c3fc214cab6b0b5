"""Integers of one weight matrix from its moments: clip search, shrinkage chosen on held-out columns, method."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hexaquant.ptq.rounding.clip_search import search_clips
from hexaquant.ptq.rounding.coordinate_descent import Integers, coordinate_descent, nearest
from hexaquant.ptq.rounding.gptq import gptq
from hexaquant.ptq.rounding.moments import Gram, HeldOut, shrunk

METHODS = ("coordinate_descent", "gptq", "nearest")

SHRINKAGES = ((0.01, 0.0), (0.1, 0.0), (0.1, 0.5), (0.1, 1.0), (0.4, 0.5), (0.4, 1.0), (0.8, 1.0))
"""Candidates for (rho, tau) (moments.shrunk), by falling trust in the data."""

WITHOUT_DATA = (1.0, 1.0)

ROWS = 64
"""Output channels on which shrinkages are compared."""

PLENTY = 12
"""With this many columns a weight of a row nothing is over-fitted and the least shrinkage is taken."""


STARTS = (1.0, 0.92, 0.84, 0.76, 1.1)
"""Steps relative to those of the clip search from which descents start where that is cheap; each row keeps its best."""

CHEAP = 3e7
"""Multiplications of one evaluation of the output error up to which several descents are started."""


@dataclass(frozen=True)
class Problem:
    """W (g, O, K) to be put on steps S (g, O, K) or (g, O, 1), integers low..high, under its moments.

    ``one_scale``: all rows share their scale; ``smallest`` (g, O, 1): steps not to go below.
    """

    W: Tensor
    S: Tensor
    gram: Gram
    held: HeldOut | None
    low: int
    high: int
    one_scale: bool = False
    smallest: Tensor | None = None

    def rows(self, count: int) -> Problem:
        """The problem of ``count`` rows spread over each group's."""
        total = self.W.shape[1]
        if total <= count or self.W.shape[0] > 1:
            return self
        at = torch.linspace(0, total - 1, count).long()
        gram, held = self.gram, self.held
        return replace(
            self,
            W=self.W[:, at],
            S=self.S[:, at],
            gram=replace(gram, G=gram.G[:, at], power=gram.power[:, at], mean_y=gram.mean_y[:, at]),
            held=None if held is None else HeldOut(held.X, held.Y[:, at]),
            smallest=None if self.smallest is None else self.smallest[:, at],
        )

    def error(self, Wq: Tensor, has_bias: bool = True) -> Tensor:
        """(g, O): mean squared output error of ``Wq``, on the held-out columns where there are any."""
        if self.held is None:
            return self.gram.error(Wq)
        return self.held.error(Wq, self.gram.bias(Wq) if has_bias else None)


@dataclass(frozen=True)
class Method:
    """``name``: one of METHODS; ``clips``: search the weight clips first; ``sweeps``, ``refit``: of the descent."""

    name: str = "coordinate_descent"
    clips: bool = True
    sweeps: int = 4
    refit: bool = True


@dataclass(frozen=True)
class Solution:
    """The integers found and the shrinkage they were found with."""

    integers: Integers
    shrinkage: tuple[float, float]


def solve(problem: Problem, method: Method, has_bias: bool = True) -> Solution:
    """The integers with the least held-out error among the shrinkages tried."""
    start = _with_clips(problem, SHRINKAGES[0]) if method.clips else problem
    plain = nearest(start.W, start.S, start.low, start.high)
    if method.name == "nearest":
        return Solution(plain, WITHOUT_DATA)
    rho = _choose(start, method, has_bias)
    if rho == WITHOUT_DATA:
        return Solution(plain, WITHOUT_DATA)
    found = _round(start, method, rho)
    if float(start.error(found.values, has_bias).sum()) > float(start.error(plain.values, has_bias).sum()):
        return Solution(plain, WITHOUT_DATA)
    return Solution(found, rho)


def _choose(problem: Problem, method: Method, has_bias: bool) -> tuple[float, float]:
    """The shrinkage whose integers have the least error on held-out columns, tried on some rows with two sweeps."""
    if problem.held is None or problem.gram.n >= PLENTY * problem.W.shape[2]:
        return SHRINKAGES[0]
    part, quick = problem.rows(ROWS), replace(method, sweeps=2)
    errors = {WITHOUT_DATA: float(part.error(nearest(part.W, part.S, part.low, part.high).values, has_bias).sum())}
    for rho in SHRINKAGES:
        errors[rho] = float(part.error(_round(part, quick, rho).values, has_bias).sum())
    return min(errors, key=lambda rho: errors[rho])


def _with_clips(problem: Problem, shrinkage: tuple[float, float]) -> Problem:
    H, G = shrunk(problem.gram, problem.W, *shrinkage)
    factor = search_clips(
        problem.W,
        H,
        G,
        problem.S,
        problem.low,
        problem.high,
        shared=problem.one_scale,
        smallest=problem.smallest,
    )
    return replace(problem, S=problem.S * factor)


def _round(problem: Problem, method: Method, shrinkage: tuple[float, float]) -> Integers:
    H, G = shrunk(problem.gram, problem.W, *shrinkage)
    if method.name == "gptq":
        return gptq(H, G, problem.S, problem.low, problem.high)
    K = problem.W.shape[2]
    several = not problem.one_scale and problem.W.numel() * K <= CHEAP
    best, least = None, None
    for factor in STARTS if several else STARTS[:1]:
        S = problem.S * factor if problem.smallest is None else torch.maximum(problem.S * factor, problem.smallest)
        found = coordinate_descent(
            problem.W,
            H,
            G,
            S,
            problem.low,
            problem.high,
            sweeps=method.sweeps,
            refit=method.refit and not problem.one_scale,
            smallest=problem.smallest,
        )
        if not several:
            return found
        Wq = found.values
        error = ((Wq @ H - 2 * G) * Wq).sum(2, keepdim=True)
        if best is None or least is None:
            best, least = found, error
            continue
        better = error < least
        best = Integers(torch.where(better, found.Q, best.Q), torch.where(better, found.S, best.S))
        least = torch.minimum(error, least)
    assert best is not None
    return best
