"""Runs a recipe; the state after each step is kept on disk, so that an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hexaquant.core.atomic import atomic_path
from hexaquant.core.events import Events
from hexaquant.ir.graph import Graph
from hexaquant.ptq.recipe import Recipe, find_recipe, name_of
from hexaquant.ptq.step import Batches, ModelStep, StepReport
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.quantizer import BiasQuantizer


@dataclass(frozen=True)
class State:
    """Where the state lies and what it is of: ``key`` is a fingerprint of everything that comes before the recipe."""

    path: Path
    key: str


def apply_graph_steps(
    graph: Graph, batches: Batches, recipe: str | Recipe, events: Events | None = None
) -> list[StepReport]:
    """Rewrite ``graph`` (prepared for the target) in place. These steps take seconds and are not kept on disk."""
    log = events or Events()
    return [
        _timed(lambda step=step: step.apply_to_graph(graph, batches, log))  # type: ignore[misc]
        for step in find_recipe(recipe).graph_steps
    ]


def apply_recipe(
    model: QuantizedModel,
    batches: Batches,
    recipe: str | Recipe = "fast",
    events: Events | None = None,
    state: State | None = None,
) -> list[StepReport]:
    """Quantize ``model`` in place by the model steps; with ``state``, go on after the last step that is kept there."""
    found, log = find_recipe(recipe), events or Events()
    reports = [] if state is None else _load(model, found, state)
    if reports:
        log.note("quantize", f"steps done before the interruption are kept: {', '.join(r.step for r in reports)}")
    for index, step in enumerate(found.model_steps[len(reports) :], len(reports)):
        reports.append(_timed(lambda step=step: step.apply(model, batches, log)))  # type: ignore[misc]
        if state is not None and index + 1 < len(found.model_steps):
            _save(model, found.model_steps[: index + 1], reports, state)
    return reports


def _timed(step: Callable[[], StepReport]) -> StepReport:
    start = time.perf_counter()
    return replace(step(), seconds=round(time.perf_counter() - start, 3))


def _key(steps: tuple[ModelStep, ...], state: State) -> str:
    done = [[name_of(step), asdict(step)] for step in steps]  # type: ignore[call-overload]
    return hashlib.sha256(json.dumps([state.key, done]).encode()).hexdigest()


def _save(model: QuantizedModel, steps: tuple[ModelStep, ...], reports: list[StepReport], state: State) -> None:
    tensors = {name: t.detach().cpu().clone().contiguous() for name, t in model.state_dict().items()}
    document = {"key": _key(steps, state), "reports": json.dumps([asdict(report) for report in reports])}
    with atomic_path(state.path) as temporary:
        save_file(tensors, temporary, metadata=document)


def _load(model: QuantizedModel, recipe: Recipe, state: State) -> list[StepReport]:
    """Fill ``model`` from the state when it is of the beginning of this recipe; the reports of the steps in it."""
    try:
        with safe_open(state.path, "pt") as file:
            metadata = file.metadata() or {}
            reports = [StepReport(**report) for report in json.loads(metadata.get("reports", "[]"))]
            if not reports or metadata.get("key") != _key(recipe.model_steps[: len(reports)], state):
                return []
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError):
        return []
    with torch.no_grad():
        model.load_state_dict(tensors)
    for quantizer in model.quantizers.values():
        if isinstance(quantizer, BiasQuantizer) or quantizer.has_encoding:
            quantizer.state = "on"
    return reports
