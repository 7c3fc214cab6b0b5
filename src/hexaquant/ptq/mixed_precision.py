"""Mixed precision as an integer linear program: one scheme for each layer, the smallest error that a budget allows.

    minimize    sum_i sum_s |e_is|^2 x_is  +  sum_(i->j) sum_st (2 <e_is, e_jt> + d_ist) y_ijst
    subject to  sum_s x_is = 1,   sum_t y_ijst = x_is,   sum_s y_ijst = x_jt
                sum_i sum_s c_is x_is + sum_(i->j) sum_st v_ijst y_ijst <= budget

with x_is = 1 when layer i has scheme s, y_ijst = x_is x_jt on the edges of the graph, e the error vectors of
ptq/sensitivity.py, d the error of converting a tensor to a coarser type for its reader and v the cost of that Convert.
Solved by HiGHS (scipy.optimize.milp). Paper: CLADO, Deng et al., arXiv:2307.05657, with interactions of neighbours
only. Costs in bit operations: multiply-accumulates times the bits of both operands; an operator without products counts
one for each value it writes.
"""

from __future__ import annotations

import glob
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.htp.scheme import SCHEMES, Scheme
from hexaquant.ptq.sensitivity import Sensitivities
from hexaquant.ptq.units import Unit

Cost = Literal["bops", "size"]
COSTS: tuple[Cost, ...] = ("bops", "size")
CONVERT_BITS = 16
"""A Convert costs as much a value as a multiply-accumulate of this many bits on both sides."""
SECONDS = 60.0
GAP = 1e-4
"""Relative distance to the optimum at which the solver may stop."""


@dataclass(frozen=True)
class Choice:
    """A scheme for each unit. ``noise``: predicted noise-to-signal ratio of the outputs; ``bops``: bit operations a
    sample, with Converts; ``size``: bytes of the weights; ``converts``: how many tensors change their type."""

    schemes: tuple[str, ...]
    noise: float
    bops: int
    size: int
    converts: int

    @property
    def sqnr_db(self) -> float:
        return -10 * math.log10(max(self.noise, 1e-30))

    def counts(self) -> dict[str, int]:
        return dict(Counter(self.schemes))


class Problem:
    """The program of ``units``; ``allowed[i]``: the schemes that the target executes unit i in, never empty."""

    def __init__(self, units: Sequence[Unit], allowed: Sequence[Sequence[str]], found: Sensitivities) -> None:
        self.units = units
        self.options = [[SCHEMES[name] for name in names] for names in allowed]
        self.edges = [(u, v) for v, unit in enumerate(units) for u in unit.reads]
        self._readers = Counter(u for u, _ in self.edges)
        self._found = found
        self._vectors = [[_error(found, i, s) for s in options] for i, options in enumerate(self.options)]

    def choice(self, schemes: Sequence[Scheme]) -> Choice:
        """What ``schemes``, one a unit, cost and are predicted to lose."""
        picked = [self.options[i].index(scheme) for i, scheme in enumerate(schemes)]
        noise = sum(self._own(i)[k] for i, k in enumerate(picked))
        noise += sum(self._pair(u, v)[picked[u], picked[v]] for u, v in self.edges)
        convert = sum(int(_converts(schemes[u], schemes[v])) for u, v in self.edges)
        bops = sum(_bops(unit, s) for unit, s in zip(self.units, schemes))
        bops += sum(_convert_bops(self.units[u], schemes[u], schemes[v]) for u, v in self.edges)
        size = sum(_size(unit, s) for unit, s in zip(self.units, schemes))
        return Choice(tuple(s.name for s in schemes), max(float(noise), 0.0), bops, size, convert)

    def extreme(self, cost: Cost, largest: bool) -> int:
        """The smallest or largest ``cost`` that the allowed schemes can have, Converts aside."""
        pick = max if largest else min
        return sum(pick(self._cost(cost, i)) for i in range(len(self.units)))

    def solve(self, budget: Mapping[Cost, float]) -> Choice:
        """The best choice within ``budget``. Raises InputError naming the smallest cost when there is none."""
        from scipy.optimize import Bounds, LinearConstraint, milp

        layout = _Layout([len(options) for options in self.options], self.edges)
        objective = layout.row([self._own(i) for i in range(len(self.units))], self._pairs())
        rows, right = layout.consistency()
        limits = [layout.row([self._cost(c, i) for i in range(len(self.units))], self._pair_costs(c)) for c in budget]
        constraints = [LinearConstraint(rows, right, right)]
        constraints += [LinearConstraint(row / limit, -np.inf, 1.0) for row, limit in zip(limits, budget.values())]
        scale = 1e3 / max(float(np.abs(objective).max()), 1e-30)
        result = milp(
            objective * scale,
            integrality=layout.integrality(),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"time_limit": SECONDS, "mip_rel_gap": GAP},
        )
        if result.x is None:
            raise InputError(self._infeasible(budget))
        return self.choice([options[k] for options, k in zip(self.options, layout.picked(result.x))])

    def _infeasible(self, budget: Mapping[Cost, float]) -> str:
        least = ", ".join(f"{c} {self.extreme(c, False):,}" for c in budget)
        asked = ", ".join(f"{c} {int(value):,}" for c, value in budget.items())
        return f"no choice of schemes stays within the budget of {asked}: the least is {least}; raise the budget"

    def _own(self, i: int) -> list[float]:
        return [float(vector.square().sum()) for vector in self._vectors[i]]

    def _pair(self, u: int, v: int) -> np.ndarray:
        """(options of u, options of v): the error that the two have together beyond each one's own."""
        table = np.zeros((len(self.options[u]), len(self.options[v])))
        for a, first in enumerate(self.options[u]):
            for b, second in enumerate(self.options[v]):
                x = self._vectors[u][a]
                y = self._vectors[v][b]
                together = 2 * float((x * y).sum()) if len(x) == len(y) else 0.0
                table[a, b] = together + self._convert_error(u, first, second)
        return table

    def _convert_error(self, u: int, first: Scheme, second: Scheme) -> float:
        if second.is_float or (not first.is_float and second.act_bits >= first.act_bits):
            return 0.0
        vector = self._found.error(u, None, second.act_bits)
        return float(vector.square().sum()) / self._readers[u]

    def _pairs(self) -> list[np.ndarray]:
        return [self._pair(u, v) for u, v in self.edges]

    def _cost(self, cost: Cost, i: int) -> list[int]:
        of = _bops if cost == "bops" else _size
        return [of(self.units[i], scheme) for scheme in self.options[i]]

    def _pair_costs(self, cost: Cost) -> list[np.ndarray]:
        if cost == "size":
            return [np.zeros((len(self.options[u]), len(self.options[v]))) for u, v in self.edges]
        return [
            np.array([[_convert_bops(self.units[u], a, b) for b in self.options[v]] for a in self.options[u]], float)
            for u, v in self.edges
        ]


@dataclass(frozen=True)
class _Layout:
    """Where the variables of each unit and each edge stand in one long vector."""

    sizes: Sequence[int]
    edges: Sequence[tuple[int, int]]

    @property
    def starts(self) -> list[int]:
        lengths = [*self.sizes, *(self.sizes[u] * self.sizes[v] for u, v in self.edges)]
        return [0, *np.cumsum(lengths).tolist()]

    def row(self, own: Sequence[Sequence[float]], pairs: Sequence[np.ndarray]) -> np.ndarray:
        """One coefficient a variable."""
        parts = [np.asarray(values, float) for values in own] + [table.ravel() for table in pairs]
        return np.concatenate(parts)

    def integrality(self) -> np.ndarray:
        flags = np.zeros(self.starts[-1])
        flags[: self.starts[len(self.sizes)]] = 1
        return flags

    def consistency(self) -> tuple[object, np.ndarray]:
        """(sparse matrix, right-hand side): one scheme a unit, and edges that agree with both ends."""
        from scipy.sparse import lil_array

        starts = self.starts
        units = len(self.sizes)
        count = units + sum(self.sizes[u] + self.sizes[v] for u, v in self.edges)
        matrix = lil_array((count, starts[-1]))
        right = np.zeros(count)
        for i in range(units):
            matrix[i, starts[i] : starts[i + 1]] = 1
            right[i] = 1
        row = units
        for e, (u, v) in enumerate(self.edges):
            cells = starts[units + e] + np.arange(self.sizes[u] * self.sizes[v]).reshape(self.sizes[u], self.sizes[v])
            for end, table in ((u, cells), (v, cells.T)):
                for k in range(self.sizes[end]):
                    matrix[row, table[k]] = 1
                    matrix[row, starts[end] + k] = -1
                    row += 1
        return matrix.tocsr(), right

    def picked(self, x: np.ndarray) -> list[int]:
        return [int(np.argmax(x[a:b])) for a, b in zip(self.starts[: len(self.sizes)], self.starts[1:])]


def pareto(problem: Problem, cost: Cost, points: int = 8) -> list[Choice]:
    """The best choices at ``points`` budgets between the cheapest and the dearest, without those that others beat."""
    low = problem.extreme(cost, False)
    high = problem.extreme(cost, True)
    found: list[Choice] = []
    for share in np.linspace(0.0, 1.0, points) ** 1.5:
        try:
            choice = problem.solve({cost: low + share * (high - low) + 1})
        except InputError:  # the cheapest schemes need Converts that the budget has no room for
            continue
        if not found or choice.noise < found[-1].noise * (1 - GAP):
            found.append(choice)
    return found


def overrides_of(units: Sequence[Unit], choice: Choice, base: str) -> dict[str, str]:
    """``choice`` as overrides (sim/overrides.py) over the scheme ``base``."""
    return {
        glob.escape(node): scheme
        for unit, scheme in zip(units, choice.schemes)
        for node in unit.nodes
        if scheme != base
    }


def _error(found: Sensitivities, unit: int, scheme: Scheme) -> Tensor:
    bits = (None, None) if scheme.is_float else (scheme.weight_bits, scheme.act_bits)
    return found.error(unit, *bits)


def _bops(unit: Unit, scheme: Scheme) -> int:
    if unit.weight is None:
        return max(unit.macs, unit.elements) * scheme.act_bits**2
    return unit.macs * scheme.weight_bits * scheme.act_bits


def _size(unit: Unit, scheme: Scheme) -> int:
    return unit.parameters * scheme.weight_bits // 8


def _converts(first: Scheme, second: Scheme) -> bool:
    """True when a reader in ``second`` needs what ``first`` writes in another type."""
    return (first.act_bits, first.is_float) != (second.act_bits, second.is_float)


def _convert_bops(unit: Unit, first: Scheme, second: Scheme) -> int:
    return unit.elements * CONVERT_BITS**2 * int(_converts(first, second))
