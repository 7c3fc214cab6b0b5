"""hq.lint: what the target will say to each layer, before any calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hexaquant.core import html
from hexaquant.core.errors import TargetError
from hexaquant.frontends import load
from hexaquant.ir.graph import Graph
from hexaquant.sim.activation_grids import ActivationPlanner
from hexaquant.sim.node_schemes import node_schemes
from hexaquant.sim.overrides import parse_overrides
from hexaquant.targets.check import Judgement, by_name, judge
from hexaquant.targets.legality import legality_table
from hexaquant.targets.scheme import Scheme, find_scheme, scheme_problem, scheme_warnings
from hexaquant.targets.soc import Target, find_target
from hexaquant.transforms.for_target import prepare_for_target


@dataclass(frozen=True)
class Lint:
    """``judgements``: one an operator, of the network as it is rewritten for the target. ``release``: of the measured
    wheel. ``scheme_problem``: why the target does not take the scheme at all; ``warnings``: what works, but less well.
    """

    source: str
    target: Target
    scheme: Scheme
    judgements: tuple[Judgement, ...]
    release: str
    scheme_problem: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def refused(self) -> list[Judgement]:
        """Layers that the target refuses or computes wrongly."""
        return [judgement for judgement in self.judgements if judgement.is_bad]

    def _repr_html_(self) -> str:
        """For notebooks: the target's verdict on each layer, refused ones first."""
        judged = sorted(self.judgements, key=lambda judgement: not judgement.is_bad)
        rows = [(j.layer, j.op_type, j.scheme, j.status, j.reason, j.remedy) for j in judged]
        head = html.heading(f"{self.source} in {self.scheme.name} for {self.target}")
        return head + html.table(["layer", "operator", "scheme", "verdict", "reason", "remedy"], rows)

    def require_legal(self) -> None:
        """Raise TargetError naming the first layer that is refused."""
        bad = self.refused
        if bad:
            raise TargetError(f"{self.target.name} refuses {len(bad)} of {len(self.judgements)} layers, first {bad[0]}")
        if self.scheme_problem:
            raise TargetError(self.scheme_problem)


def lint(
    model: Any,
    *,
    target: str | Target = "sm8650",
    scheme: str | Scheme = "w8a8",
    overrides: Mapping[str, Any] | str | Path | None = None,
    example_inputs: tuple[Any, ...] | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
) -> Lint:
    """Judge every layer of ``model`` (a Graph, a path or an nn.Module) by the measured table; runs no library.

    Raises InputError for a model, target, scheme or overrides that cannot be read.
    """
    soc, kind, rules = find_target(target), find_scheme(scheme), parse_overrides(overrides)
    graph: Graph = load(model, example_inputs=example_inputs, shapes=shapes).clone()
    prepare_for_target(graph)
    schemes = node_schemes(ActivationPlanner(graph, kind, rules))
    judgements = judge(graph, soc, by_name(schemes))
    problem = scheme_problem(kind, soc)
    warnings = tuple(scheme_warnings(kind, soc))
    return Lint(graph.source, soc, kind, tuple(judgements), legality_table().release, problem, warnings)
