"""hq.mixed_precision: which layers need which types, under a budget of bit operations or bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hexaquant.api.quantize import counted_batches
from hexaquant.core import html
from hexaquant.core.errors import InputError, TargetError
from hexaquant.core.events import Events
from hexaquant.frontends import load
from hexaquant.htp import kernels
from hexaquant.htp.check import judge_node
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.htp.legality import legality_table
from hexaquant.htp.qdq_view import View
from hexaquant.htp.scheme import Scheme, check_scheme, find_scheme
from hexaquant.htp.soc import DEFAULT_TARGET, Target, find_target
from hexaquant.io.data import open_data
from hexaquant.io.image_folder import ImageSpec
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import float_network
from hexaquant.ptq.mixed_precision import COSTS, Choice, Cost, Problem, overrides_of, pareto
from hexaquant.ptq.sensitivity import measure_sensitivities
from hexaquant.ptq.units import Unit, find_units
from hexaquant.sim.planner import plan_unchecked

CHOICES = ("w4a8", "w8a8", "w4a16", "w8a16", "fp16")
REFERENCE = "w8a8"
"""Budgets in percent are of what the network costs when every layer that can has this scheme."""


@dataclass(frozen=True)
class MixedPrecision:
    """``choice``: the schemes; ``scheme`` and ``overrides``: how to quantize so; ``curve``: what other budgets give.

    ``reference``: the cost of uniform w8a8.
    """

    target: Target
    units: tuple[Unit, ...]
    choice: Choice
    scheme: str
    overrides: dict[str, str]
    curve: tuple[Choice, ...]
    reference: Choice

    def to_json(self) -> dict[str, Any]:
        layers = [{"layer": u.layer, "scheme": s} for u, s in zip(self.units, self.choice.schemes)]
        figures = {"choice": figures_of(self.choice), "w8a8": figures_of(self.reference)}
        curve = [figures_of(choice) for choice in self.curve]
        head = {"target": self.target.name, "scheme": self.scheme, "overrides": self.overrides}
        return head | figures | {"pareto": curve, "layers": layers}

    def _repr_html_(self) -> str:
        """For notebooks: the scheme of each layer, and what other budgets give."""
        head = html.heading(f"mixed precision for {self.target}, scheme {self.scheme}")
        layers = [(unit.layer, scheme) for unit, scheme in zip(self.units, self.choice.schemes)]
        named = [("chosen", self.choice), ("uniform w8a8", self.reference), *(("", choice) for choice in self.curve)]
        curve = [(name, f"{c.sqnr_db:.1f}", f"{c.bops:,}", f"{c.size:,}", c.converts) for name, c in named]
        columns = ["", "SQNR, dB", "bit operations", "bytes", "converts"]
        return head + html.table(columns, curve) + html.table(["layer", "scheme"], layers)


def figures_of(choice: Choice) -> dict[str, Any]:
    """Costs, predicted SQNR in dB and number of layers by scheme."""
    return {
        "predicted_sqnr_db": round(choice.sqnr_db, 2),
        "bops": choice.bops,
        "size": choice.size,
        "converts": choice.converts,
        "layers": choice.counts(),
    }


def mixed_precision(
    model: Any,
    data: Any,
    *,
    target: str | Target = DEFAULT_TARGET,
    budget: Mapping[Cost, float | str] | None = None,
    choices: Sequence[str] = CHOICES,
    samples: int = 16,
    batch_size: int = 16,
    points: int = 8,
    images: ImageSpec | None = None,
    example_inputs: tuple[Any, ...] | None = None,
    events: Events | None = None,
) -> MixedPrecision:
    """Choose a scheme for each layer of ``model`` so that the predicted output error is least within ``budget``.

    ``budget``: {"bops": bit operations per sample, "size": bytes of weights}, numbers or text in percent of uniform
    w8a8 ("125%"); ``choices``: schemes to choose from, layer by layer only those that the target executes there;
    ``samples``: how many measure the sensitivities; ``points``: of the Pareto curve. Raises InputError for a budget
    that cannot be met.
    """
    soc = find_target(target)
    problem = make_problem(model, data, soc, choices, samples, batch_size, images, example_inputs, events)
    reference = uniform(problem)
    limits = {cost: _limit(cost, value, reference) for cost, value in (budget or {"bops": "100%"}).items()}
    choice = problem.solve(limits)
    curve = pareto(problem, next(iter(limits)), points)
    return solution(problem, soc, choice, curve, reference)


def solution(
    problem: Problem, soc: Target, choice: Choice, curve: Sequence[Choice], reference: Choice
) -> MixedPrecision:
    """``choice`` with the overrides that bring it about."""
    counts = Counter(choice.schemes)
    base = max(counts, key=lambda name: (not find_scheme(name).is_float, counts[name]))
    units = tuple(problem.units)
    return MixedPrecision(soc, units, choice, base, overrides_of(units, choice, base), tuple(curve), reference)


def make_problem(
    model: Any,
    data: Any,
    target: Target,
    choices: Sequence[str] = CHOICES,
    samples: int = 16,
    batch_size: int = 16,
    images: ImageSpec | None = None,
    example_inputs: tuple[Any, ...] | None = None,
    events: Events | None = None,
) -> Problem:
    """Measure the sensitivities of ``model`` and pose the choice among ``choices``."""
    reference = float_network(load(model, example_inputs=example_inputs))
    dataset = open_data(data, reference, images)
    graph = reference.clone()
    prepare_for_target(graph, target)
    known = [scheme for scheme in map(find_scheme, choices) if _executable(scheme, target)]
    if not known:
        raise InputError(f"{target.name} executes none of {', '.join(choices)}: give other schemes to choose from")
    planned = graph.clone()
    units = find_units(planned, plan_unchecked(planned, target, find_scheme(REFERENCE)))
    allowed = [allowed_schemes(planned, unit, known, target) for unit in units]
    bits = (
        tuple(sorted({s.weight_bits for s in known if not s.is_float})),
        tuple(sorted({s.act_bits for s in known if not s.is_float})),
    )

    def batches() -> Any:
        return counted_batches(dataset, batch_size)

    found = measure_sensitivities(graph, units, batches, target, samples=samples, bits=bits, events=events)
    return Problem(units, allowed, found)


def _view(graph: Graph, scheme: Scheme) -> View:
    bits = None if scheme.is_float else scheme.act_bits
    return View(graph.model.graph, lambda _: bits)


def allowed_schemes(graph: Graph, unit: Unit, schemes: Sequence[Scheme], target: Target) -> list[str]:
    """Those of ``schemes`` in which ``target`` executes ``unit`` as it is asked to; one a type without a weight."""
    node = next((n for n in graph.nodes if n.name == unit.nodes[0]), None)
    table = legality_table()
    found: dict[tuple[int, int, bool], str] = {}
    for scheme in sorted(schemes, key=lambda s: -s.weight_bits):
        kind = "fp16" if scheme.is_float else f"u{scheme.act_bits}"
        if node is not None and kernels.executable_type(node.op_type, kind) != kind:
            continue
        if node is not None and judge_node(graph, node, target, scheme.name, table, _view(graph, scheme)).is_bad:
            continue
        found.setdefault((scheme.weight_bits if unit.weight else 0, scheme.act_bits, scheme.is_float), scheme.name)
    return list(found.values()) or [schemes[0].name]


def _executable(scheme: Scheme, target: Target) -> bool:
    try:
        check_scheme(scheme, target)
    except TargetError:
        return False
    return True


def uniform(problem: Problem) -> Choice:
    """w8a8 in every layer that can."""
    return problem.choice([next((s for s in o if s.name == REFERENCE), o[0]) for o in problem.options])


def _limit(cost: str, value: float | str, reference: Choice) -> float:
    if cost not in COSTS:
        raise InputError(f"there is no budget '{cost}': give {' or '.join(COSTS)}")
    text = str(value).strip()
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        raise InputError(f"the budget '{text}' of {cost} is no number: give 1.5e9, or 120% of uniform w8a8") from None
    limit = number / 100 * getattr(reference, cost) if text.endswith("%") else number
    if not limit > 0:
        raise InputError(f"the budget '{text}' of {cost} must be above zero")
    return float(limit)
