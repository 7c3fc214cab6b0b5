"""Recipes: ready sequences of post-training steps, each a frozen configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.ptq.bias_correction import correct_biases
from hexaquant.sim.calibrate import calibrate
from hexaquant.sim.model import QuantizedModel

Batches = Callable[[], Iterable[Mapping[str, Any]]]


@dataclass(frozen=True)
class Recipe:
    """What :func:`apply_recipe` does: calibrate with ``observer`` and ``weight_observer``, then correct biases.

    ``bias_samples``: samples held at once for bias correction; 0 leaves the biases alone.
    """

    name: str
    observer: str = "mse"
    weight_observer: str = "auto"
    bias_samples: int = 32


RECIPES: dict[str, Recipe] = {
    "fast": Recipe("fast"),
    "plain": Recipe("plain", "min_max", "min_max", 0),
}


@dataclass(frozen=True)
class StepReport:
    """What one step did, for the manifest: its configuration and the figures it measured."""

    step: str
    samples: int
    details: dict[str, Any] = field(default_factory=dict)


def find_recipe(recipe: str | Recipe) -> Recipe:
    """The recipe called ``recipe``. Raises InputError listing what exists."""
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise InputError(f"unknown recipe '{recipe}': known are {', '.join(RECIPES)}")
    return RECIPES[recipe]


def apply_recipe(
    model: QuantizedModel, batches: Batches, recipe: str | Recipe = "fast", events: Events | None = None
) -> list[StepReport]:
    """Quantize ``model`` in place; ``batches()`` starts a new pass over the calibration data each time."""
    steps, log = find_recipe(recipe), events or Events()
    seen = calibrate(model, batches(), observer=steps.observer, weight_observer=steps.weight_observer, events=log)
    reports = [StepReport("calibrate", seen, asdict(steps))]
    if steps.bias_samples and any(plan.how == "derived" for plan in model.plan):
        layers = correct_biases(model, batches(), samples=steps.bias_samples, events=log)
        reports.append(
            StepReport("correct biases", min(seen, steps.bias_samples), {"layers": [asdict(r) for r in layers]})
        )
    return reports
