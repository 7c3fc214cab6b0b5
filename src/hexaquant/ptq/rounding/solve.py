"""Integers of one weight matrix from its moments: clip search, shrinkage chosen on held-out columns, method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hexaquant.ptq.rounding.adaround import adaround, flexround
from hexaquant.ptq.rounding.coordinate_descent import BLOCK, Integers, coordinate_descent, nearest
from hexaquant.ptq.rounding.moments import Gram, HeldOut, shrunk, shrunk_rows

# GPTQ: round column by column, compensating each error on the columns still to come through the inverse Hessian.
#
# Frantar et al., "GPTQ", ICLR 2023 (arXiv:2210.17323), algorithm 1, with the columns in the order of falling H_kk
# ("act-order") and the asymmetric target of GPTAQ (Li et al., ICML 2025, arXiv:2504.02692): the float solution that
# the columns are rounded from is the minimum of the whole quadratic, W* = G H^-1, not W. With U the upper Cholesky
# factor of H^-1, column k's error is  (w_k - q_k) / U_kk  and columns j > k lose  error * U_kj.


def gptq(H: Tensor, G: Tensor, S: Tensor, low: int, high: int) -> Integers:
    """Integers for H (g, K, K), positive definite, and G (g, O, K) on steps S (g, O, K) or (g, O, 1)."""
    order = torch.argsort(torch.diagonal(H, dim1=1, dim2=2).sum(0), descending=True)
    H = H[:, order][:, :, order]
    U = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(H)), upper=True)
    target = torch.cholesky_solve(G[:, :, order].transpose(1, 2), torch.linalg.cholesky(H))
    steps = S.expand_as(G)[:, :, order].transpose(1, 2).contiguous()
    Q = torch.empty_like(target)
    for start in range(0, H.shape[1], BLOCK):
        end = min(start + BLOCK, H.shape[1])
        E = torch.empty_like(target[:, start:end])
        for k in range(start, end):
            Q[:, k] = torch.round(target[:, k] / steps[:, k]).clamp_(low, high)
            E[:, k - start] = (target[:, k] - Q[:, k] * steps[:, k]) / U[:, k, k, None]
            target[:, k:end].baddbmm_(U[:, k, k:end, None], E[:, k - start, None], alpha=-1)
        target[:, end:].baddbmm_(U[:, start:end, end:].transpose(1, 2), E, alpha=-1)
    return Integers(Q[:, torch.argsort(order)].transpose(1, 2).contiguous(), S.expand_as(G).contiguous())


# Joint search of weight clips by the error of the layer's output (SeqMSE's criterion, in closed form).
#
# SeqMSE (AIMET) runs the layer once for each candidate; here the output error of all rows under a candidate scale is
# the quadratic form of H and G (moments.py). The candidates are first ranked by their diagonal part, which costs no
# matrix product,  sum_k H_kk (w_k - q_k)^2; only the best ones of each row are measured exactly.

FACTORS = tuple(1.1 - 0.025 * i for i in range(29))
"""Candidate scales relative to the present ones, 1.1 to 0.4."""


def search_clips(
    W: Tensor,
    H: Tensor,
    G: Tensor,
    S: Tensor,
    low: int,
    high: int,
    *,
    exact: int = 3,
    shared: bool = False,
    smallest: Tensor | None = None,
) -> Tensor:
    """(g, O, 1): for each row the factor on its steps S with the least output error when rounding to nearest.

    ``exact``: candidates of each row that are measured with the whole H, 1 to trust the diagonal; ``shared``: one
    factor for all rows; ``smallest`` (g, O, 1): steps that are not gone below.
    """
    factors = torch.tensor(FACTORS, dtype=W.dtype)
    proxy = torch.stack([_diagonal_error(W, H, S * f, low, high) for f in FACTORS], -1)
    if shared:
        proxy = proxy.sum((0, 1), keepdim=True).expand_as(proxy)
    ranked = factors[proxy.topk(exact, largest=False).indices]
    if exact == 1:
        return _above(ranked, S, smallest)
    best = torch.ones_like(ranked[..., :1])
    least = torch.full_like(best, torch.inf)
    for i in range(exact):
        factor = _above(ranked[..., i : i + 1], S, smallest)
        error = _error(W, H, G, S * factor, low, high)
        if shared:
            error = error.sum((0, 1), keepdim=True).expand_as(error)
        best = torch.where(error < least, factor, best)
        least = torch.minimum(error, least)
    return best


def _above(factor: Tensor, S: Tensor, smallest: Tensor | None) -> Tensor:
    return factor if smallest is None else torch.maximum(factor, (smallest / S).amax(2, keepdim=True).clamp(max=1))


def _diagonal_error(W: Tensor, H: Tensor, S: Tensor, low: int, high: int) -> Tensor:
    error = nearest(W, S, low, high).values.sub_(W).square_()
    return (error @ torch.diagonal(H, dim1=1, dim2=2)[:, :, None])[:, :, 0]


def _error(W: Tensor, H: Tensor, G: Tensor, S: Tensor, low: int, high: int) -> Tensor:
    Wq = nearest(W, S, low, high).values
    return ((Wq @ H - 2 * G) * Wq).sum(2, keepdim=True)


METHODS = ("coordinate_descent", "gptq", "adaround", "flexround", "nearest")
SHRINKAGES = ((0.01, 0.0), (0.1, 0.5), (0.4, 1.0), (0.8, 1.0))
"""Candidates for (rho, tau) (moments.shrunk), by falling trust in the data."""
WITHOUT_DATA = (1.0, 1.0)
ROWS = 64
"""Output channels on which shrinkages are compared."""
PLENTY = 8
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
        gram = self.gram
        held = self.held
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
    """``name``: one of METHODS; ``clips``: search the weight clips first; ``sweeps``, ``refit``: of the descent;
    ``iterations``: of AdaRound and FlexRound."""

    name: str = "coordinate_descent"
    clips: bool = True
    sweeps: int = 4
    refit: bool = True
    iterations: int = 200


@dataclass(frozen=True)
class Solution:
    """The integers found and the shrinkage they were found with."""

    integers: Integers
    shrinkage: tuple[float, float]


def solve(problem: Problem, method: Method, has_bias: bool = True) -> Solution:
    """The integers with the least held-out error among the shrinkages tried."""
    start = _with_clips(problem, 3 if method.name == "nearest" else 1) if method.clips else problem
    plain = nearest(start.W, start.S, start.low, start.high)
    if method.name == "nearest":
        return Solution(plain, WITHOUT_DATA)
    rho = _choose(start, method, has_bias)
    if rho == WITHOUT_DATA:
        return Solution(plain, WITHOUT_DATA)
    found = _round(start, method, rho, has_bias)
    if float(start.error(found.values, has_bias).sum()) > float(start.error(plain.values, has_bias).sum()):
        return Solution(plain, WITHOUT_DATA)
    return Solution(found, rho)


def _choose(problem: Problem, method: Method, has_bias: bool) -> tuple[float, float]:
    """The shrinkage whose integers have the least error on held-out columns, tried on some rows with one sweep.

    Trust in the data is lowered as long as that helps.
    """
    if problem.held is None or problem.gram.n >= PLENTY * problem.W.shape[2]:
        return SHRINKAGES[0]
    part = problem.rows(ROWS)
    quick = replace(method, sweeps=1, iterations=min(method.iterations, 60))
    found: Iterable[Integers] = (_round(part, quick, shrinkage, has_bias) for shrinkage in SHRINKAGES)
    if method.name == "coordinate_descent":
        found = _descents(part, quick, [(shrinkage, 1.0) for shrinkage in SHRINKAGES])
    best = SHRINKAGES[0]
    least = math.inf
    for shrinkage, integers in zip(SHRINKAGES, found):
        error = float(part.error(integers.values, has_bias).sum())
        if error >= least:
            return best
        best = shrinkage
        least = error
    plain = nearest(part.W, part.S, part.low, part.high)
    return WITHOUT_DATA if float(part.error(plain.values, has_bias).sum()) < least else best


def _with_clips(problem: Problem, exact: int) -> Problem:
    H, G = shrunk(problem.gram, problem.W, *SHRINKAGES[0])
    factor = search_clips(
        problem.W,
        H,
        G,
        problem.S,
        problem.low,
        problem.high,
        exact=exact,
        shared=problem.one_scale,
        smallest=problem.smallest,
    )
    return replace(problem, S=problem.S * factor)


def _round(problem: Problem, method: Method, shrinkage: tuple[float, float], has_bias: bool) -> Integers:
    if method.name == "coordinate_descent":
        return _descend(problem, method, shrinkage)
    H, G = shrunk(problem.gram, problem.W, *shrinkage)
    W = problem.W
    S = problem.S
    low = problem.low
    high = problem.high
    if method.name == "gptq":
        return gptq(H, G, S, low, high)

    def error(Wq: Tensor) -> float:
        return float(problem.error(Wq, has_bias).sum())

    if method.name == "adaround":
        return adaround(W, H, G, S, low, high, iterations=method.iterations, error=error)
    return flexround(
        W,
        H,
        G,
        S,
        low,
        high,
        iterations=method.iterations,
        fixed_steps=problem.one_scale,
        smallest=problem.smallest,
        error=error,
    )


def _descend(problem: Problem, method: Method, shrinkage: tuple[float, float]) -> Integers:
    """Coordinate descent; from several scales, of which each row keeps its best, where that is cheap."""
    cheap = method.sweeps > 1 and not problem.one_scale and problem.W.numel() * problem.W.shape[2] <= CHEAP
    found = _descents(problem, method, [(shrinkage, factor) for factor in (STARTS if cheap else STARTS[:1])])
    if len(found) == 1:
        return found[0]
    E, G = shrunk_rows(problem.gram, problem.W, *shrinkage)
    errors = torch.stack([((i.values @ problem.gram.H + E * i.values - 2 * G) * i.values).sum(2) for i in found])
    best = errors.argmin(0)[..., None]
    Q = found[0].Q
    S = found[0].S
    for index, integers in enumerate(found):
        Q = torch.where(best == index, integers.Q, Q)
        S = torch.where(best == index, integers.S, S)
    return Integers(Q, S)


def _descents(
    problem: Problem, method: Method, cases: Sequence[tuple[tuple[float, float], float]]
) -> tuple[Integers, ...]:
    """What coordinate descent finds for each (shrinkage, factor on the steps), in one descent for all rows."""
    rows = problem.W.shape[1]
    systems = {shrinkage: shrunk_rows(problem.gram, problem.W, *shrinkage) for shrinkage, _ in cases}
    S = torch.cat([problem.S * factor for _, factor in cases], 1)
    smallest = None
    if problem.smallest is not None:
        smallest = problem.smallest.repeat(1, len(cases), 1)
        S = torch.maximum(S, smallest)
    found = coordinate_descent(
        problem.W.repeat(1, len(cases), 1),
        problem.gram.H,
        torch.cat([systems[shrinkage][1] for shrinkage, _ in cases], 1),
        S,
        problem.low,
        problem.high,
        extra=torch.cat([systems[shrinkage][0].expand(-1, rows, -1) for shrinkage, _ in cases], 1),
        sweeps=method.sweeps,
        refit=method.refit and not problem.one_scale,
        smallest=smallest,
    )
    return tuple(Integers(Q, s) for Q, s in zip(found.Q.split(rows, 1), found.S.split(rows, 1)))
