"""What decides how a network is quantized, resolved once, where the user's words come in: names, files and mappings
become objects, and what cannot be is refused before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hexaquant.htp.scheme import DEFAULT_SCHEME, Scheme, check_scheme, find_scheme
from hexaquant.htp.soc import DEFAULT_TARGET, Target, find_target
from hexaquant.io.encoding_losses import check_version
from hexaquant.ir.graph import Graph
from hexaquant.ptq.recipe import Recipe, find_recipe
from hexaquant.sim import planner
from hexaquant.sim.overrides import Overrides, parse_overrides
from hexaquant.sim.plan import QuantPlan

GivenOverrides = Mapping[str, Any] | str | Path | Overrides | None
"""Glob of tensors or layers -> scheme or settings; or a YAML or JSON file with these."""


@dataclass(frozen=True)
class Settings:
    """How a network is quantized: the target it is for, the scheme, the recipe and the user's overrides.

    ``correct_on_target``: run the result on the target and correct the biases by what it computes there.
    """

    target: Target
    scheme: Scheme
    recipe: Recipe
    overrides: Overrides = field(default_factory=Overrides)
    encodings_version: str = "1.0.0"
    correct_on_target: bool = False


def resolve(
    target: str | Target = DEFAULT_TARGET,
    scheme: str | Scheme = DEFAULT_SCHEME,
    recipe: str | Path | Recipe = "fast",
    overrides: GivenOverrides = None,
    encodings_version: str = "1.0.0",
    correct_on_target: bool = False,
    *,
    executable: bool = True,
) -> Settings:
    """The settings that these words mean. Raises InputError for what does not exist, TargetError for a scheme that the
    target does not execute (not with ``executable`` False: lint tells of it)."""
    soc = find_target(target)
    kind = find_scheme(scheme)
    if executable:
        check_scheme(kind, soc)
    check_version(encodings_version)
    rules = find_overrides(overrides)
    return Settings(soc, kind, find_recipe(recipe), rules, encodings_version, correct_on_target)


def find_overrides(given: GivenOverrides) -> Overrides:
    """The overrides that ``given`` means. Raises InputError naming the entry that is wrong."""
    return given if isinstance(given, Overrides) else parse_overrides(given)


def make_plan(
    graph: Graph,
    target: str | Target = DEFAULT_TARGET,
    scheme: str | Scheme = DEFAULT_SCHEME,
    overrides: GivenOverrides = None,
) -> QuantPlan:
    """The plan of ``graph``: every tensor's grid and where its encoding comes from. Mixed types add explicit convert
    nodes to ``graph`` (see sim/converts.py).

    Raises TargetError when the target refuses the scheme or an operator, InputError for names that do not exist and
    for overrides that match nothing.
    """
    return planner.make_plan(graph, find_target(target), find_scheme(scheme), find_overrides(overrides))
