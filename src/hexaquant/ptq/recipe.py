"""Recipes: sequences of post-training steps, each a frozen configuration; by name, in Python or as YAML::

    name: mine
    steps:
      - calibrate: {observer: mse}
      - correct_biases: {samples: 64}
      - if_better: {round_weights: {method: gptq}}

Steps that rewrite the graph come first, since they act before the tensors get their grids. A step under ``if_better``
is optional: it stays only if the error on held-out calibration samples drops (ptq/gate.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.core.strict import validated
from hexaquant.core.text_file import read_yaml
from hexaquant.ptq.gate import IfBetter, inner
from hexaquant.ptq.step import GraphStep, ModelStep, Step, is_graph_step
from hexaquant.ptq.steps import STEPS
from hexaquant.ptq.steps.graph_steps import (
    AbsorbBiases,
    EqualizeLayers,
    FoldNormScale,
    RotateBottlenecks,
    RotateTransformer,
    SmoothActivations,
)
from hexaquant.ptq.steps.model_steps import (
    Calibrate,
    ChooseRanges,
    CorrectBiases,
    ReconstructBlocks,
    RefineRanges,
    RefitOutputs,
    RoundWeights,
)

IF_BETTER = "if_better"
"""What an optional step stands under in YAML."""


@dataclass(frozen=True)
class Recipe:
    """``steps`` in order: graph steps, then model steps, the first of which calibrates."""

    name: str
    steps: tuple[Step | IfBetter, ...]

    def __post_init__(self) -> None:
        kinds = [is_graph_step(inner(step)) for step in self.steps]
        if kinds != sorted(kinds, reverse=True):
            late = self.steps[kinds.index(False) + kinds[kinds.index(False) :].index(True)]
            raise InputError(
                f"recipe '{self.name}': '{name_of(late)}' rewrites the graph, so it must come before 'calibrate'"
            )
        if not any(isinstance(step, Calibrate) for step in self.model_steps[:1]):
            raise InputError(f"recipe '{self.name}': the first step after those that rewrite the graph is 'calibrate'")

    @property
    def graph_steps(self) -> tuple[GraphStep | IfBetter, ...]:
        return tuple(step for step in self.steps if is_graph_step(inner(step)))  # type: ignore[misc]

    @property
    def model_steps(self) -> tuple[ModelStep | IfBetter, ...]:
        return tuple(step for step in self.steps if not is_graph_step(inner(step)))  # type: ignore[misc]

    def document(self) -> dict[str, Any]:
        """The recipe as it stands in YAML, all fields spelled out."""
        return {"name": self.name, "steps": [entry(step) for step in self.steps]}


RECIPES: dict[str, Recipe] = {
    "fast": Recipe(
        "fast",
        (
            IfBetter(RotateBottlenecks()),
            IfBetter(EqualizeLayers()),
            Calibrate(),
            CorrectBiases(),
            IfBetter(RefitOutputs()),
        ),
    ),
    "best": Recipe(
        "best",
        (
            IfBetter(FoldNormScale()),
            IfBetter(RotateTransformer()),
            IfBetter(RotateBottlenecks()),
            IfBetter(EqualizeLayers()),
            IfBetter(AbsorbBiases()),
            IfBetter(SmoothActivations()),
            Calibrate(),
            IfBetter(ChooseRanges()),
            CorrectBiases(),
            IfBetter(RoundWeights()),
            IfBetter(ReconstructBlocks()),
            IfBetter(RefineRanges()),
            IfBetter(RefitOutputs()),
            IfBetter(CorrectBiases()),
        ),
    ),
    "plain": Recipe("plain", (Calibrate("min_max", "min_max"),)),
}


def entry(step: Step | IfBetter) -> dict[str, Any]:
    """``step`` as an entry of a recipe in YAML."""
    if isinstance(step, IfBetter):
        return {IF_BETTER: entry(step.step)}
    return {name_of(step): asdict(step)}  # type: ignore[call-overload]


def name_of(step: Step | IfBetter) -> str:
    """The name of ``step`` in YAML."""
    return next(name for name, kind in STEPS.items() if type(inner(step)) is kind)


def find_recipe(recipe: str | Path | Recipe) -> Recipe:
    """The recipe called ``recipe``, or the one in the YAML file of that path.

    Raises InputError listing what exists, or naming the step or field of the file that is wrong.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if str(recipe) in RECIPES:
        return RECIPES[str(recipe)]
    path = Path(recipe)
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"unknown recipe '{recipe}': known are {', '.join(RECIPES)}, or give a .yaml file")
    return parse_recipe(read_yaml(path, "recipe file"), path.stem, str(path))


def parse_recipe(document: Any, name: str = "recipe", where: str = "recipe") -> Recipe:
    """The recipe that ``document`` (as read from YAML) describes. Raises InputError naming what is wrong."""
    if not isinstance(document, Mapping) or not isinstance(document.get("steps"), list):
        raise InputError(f"{where}: a recipe has a list 'steps', each entry the name of a step or {{name: settings}}")
    unknown = set(document) - {"name", "steps"}
    if unknown:
        raise InputError(f"{where}: unknown entry '{min(unknown)}'; a recipe has 'name' and 'steps'")
    return Recipe(str(document.get("name", name)), tuple(_step(entry, where) for entry in document["steps"]))


def _step(entry: Any, where: str) -> Step | IfBetter:
    if isinstance(entry, Mapping) and set(entry) == {IF_BETTER}:
        return IfBetter(_plain_step(entry[IF_BETTER], where))
    return _plain_step(entry, where)


def _plain_step(entry: Any, where: str) -> Step:
    name, fields = next(iter(entry.items())) if isinstance(entry, Mapping) and len(entry) == 1 else (entry, {})
    kind = STEPS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InputError(f"{where}: unknown step {name!r}; known are {', '.join(STEPS)}")
    wrong = set(fields or {}) - set(kind.__dataclass_fields__)
    if wrong:
        known = ", ".join(kind.__dataclass_fields__)
        raise InputError(f"{where}: step '{name}' has no setting '{min(wrong)}'; it has {known}")
    step: Step = validated(kind, dict(fields or {}), f"{where}: step '{name}'")
    return step
