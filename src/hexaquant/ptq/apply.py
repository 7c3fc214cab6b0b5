"""Runs a recipe; the state after each step is kept on disk, so that an interrupted run goes on where it was."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hexaquant.core.events import Events
from hexaquant.core.sealed import load_sealed, save_sealed
from hexaquant.ir.graph import Graph
from hexaquant.ir.input_spec import InputSpec, input_specs
from hexaquant.ir.sample_size import samples_to_hold
from hexaquant.ptq.gate import Gate, IfBetter, first, try_graph_step, try_model_step
from hexaquant.ptq.recipe import Recipe, entry
from hexaquant.ptq.step import Batches, GraphStep, ModelStep, StepReport
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.plan import QuantPlan
from hexaquant.sim.quantizer import BiasQuantizer

TRIAL = 16
"""Samples on which an optional graph step is tried: enough to compare two graphs, and half of what `fast` takes."""


@dataclass(frozen=True)
class State:
    """Where the state lies and what it is of: ``key`` is a fingerprint of everything that comes before the recipe."""

    path: Path
    key: str


def apply_graph_steps(
    graph: Graph,
    batches: Batches,
    recipe: Recipe,
    events: Events | None = None,
    *,
    plan: Callable[[Graph], QuantPlan],
) -> list[StepReport]:
    """Rewrite ``graph`` (prepared for the target) in place. These steps take seconds and are not kept on disk.

    ``plan``: the plan of a graph, by which optional steps are tried out.
    """
    log = events or Events()
    if not recipe.graph_steps:
        return []
    gate = Gate(graph, batches) if _has_optional(recipe.graph_steps) else None
    trial = _trial(recipe, plan, batches, input_specs(graph), samples_to_hold(graph, TRIAL))

    def run(step: GraphStep | IfBetter) -> StepReport:
        if isinstance(step, IfBetter) and gate is not None:
            return try_graph_step(gate, graph, step.step, trial, log)  # type: ignore[arg-type]
        return step.apply_to_graph(graph, batches, log)  # type: ignore[union-attr]

    return [_timed(lambda step=step: run(step)) for step in recipe.graph_steps]  # type: ignore[misc]


def _trial(
    recipe: Recipe, plan: Callable[[Graph], QuantPlan], batches: Batches, specs: Sequence[InputSpec], most: int
) -> Callable[[Graph], QuantizedModel]:
    """Quantizes a graph by the model steps of ``recipe`` up to the first optional one, on at most ``most`` samples."""

    @functools.cache
    def few() -> list[Mapping[str, Any]]:  # read for an optional step only
        return first(batches(), specs, most)

    def quantized(graph: Graph) -> QuantizedModel:
        model = QuantizedModel(graph, plan(graph))
        for step in itertools.takewhile(lambda step: not isinstance(step, IfBetter), recipe.model_steps):
            step.apply(model, few, Events())  # type: ignore[union-attr]
        return model

    return quantized


def apply_recipe(
    model: QuantizedModel,
    batches: Batches,
    recipe: Recipe,
    events: Events | None = None,
    state: State | None = None,
) -> list[StepReport]:
    """Quantize ``model`` in place by the model steps; with ``state``, go on after the last step that is kept there."""
    log = events or Events()
    gate = Gate(model.source_graph, batches) if _has_optional(recipe.model_steps) else None
    reports = [] if state is None else _load(model, recipe, state)
    if reports:
        log.note("quantize", f"steps done before the interruption are kept: {', '.join(r.step for r in reports)}")

    def run(step: ModelStep | IfBetter) -> StepReport:
        if isinstance(step, IfBetter) and gate is not None:
            return try_model_step(gate, model, step.step, log)  # type: ignore[arg-type]
        if gate is not None:
            gate.standing = None
        return step.apply(model, batches, log)  # type: ignore[union-attr]

    for index, step in enumerate(recipe.model_steps[len(reports) :], len(reports)):
        reports.append(_timed(lambda step=step: run(step)))  # type: ignore[misc]
        if state is not None and index + 1 < len(recipe.model_steps):
            _save(model, recipe.model_steps[: index + 1], reports, state)
    return reports


def _has_optional(steps: Iterable[GraphStep | ModelStep | IfBetter]) -> bool:
    return any(isinstance(step, IfBetter) for step in steps)


def _timed(step: Callable[[], StepReport]) -> StepReport:
    start = time.perf_counter()
    return replace(step(), seconds=round(time.perf_counter() - start, 3))


def _key(steps: tuple[ModelStep | IfBetter, ...], state: State) -> str:
    return hashlib.sha256(json.dumps([state.key, [entry(step) for step in steps]]).encode()).hexdigest()


def _save(
    model: QuantizedModel, steps: tuple[ModelStep | IfBetter, ...], reports: list[StepReport], state: State
) -> None:
    tensors = {name: t.detach().cpu().clone().contiguous() for name, t in model.state_dict().items()}
    document = {"key": _key(steps, state), "reports": json.dumps([asdict(report) for report in reports])}
    save_sealed(state.path, tensors, document)


def _load(model: QuantizedModel, recipe: Recipe, state: State) -> list[StepReport]:
    """Fill ``model`` from the state when it is of the beginning of this recipe; the reports of the steps in it."""
    try:
        tensors, metadata = load_sealed(state.path)
        reports = [StepReport(**report) for report in json.loads(metadata.get("reports", "[]"))]
    except (ValueError, TypeError):
        return []
    if not reports or metadata.get("key") != _key(recipe.model_steps[: len(reports)], state):
        return []
    with torch.no_grad():
        model.load_state_dict(tensors)
    for quantizer in model.quantizers.values():
        if isinstance(quantizer, BiasQuantizer) or quantizer.has_encoding:
            quantizer.state = "on"
    return reports
