"""What a step of a recipe is: a frozen configuration that changes a graph or a quantized model and says what it did.

A **graph step** rewrites float parameters before anything is planned (equalization, rotation): it preserves the
function. A **model step** acts on the quantized model (calibration, rounding, correction). Both are frozen
dataclasses whose fields are JSON values, so that a recipe is YAML and a folder can say how it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeGuard

from hexaquant.core.events import Events
from hexaquant.ir.graph import Graph
from hexaquant.sim.model import QuantizedModel

Batches = Callable[[], Iterable[Mapping[str, Any]]]
"""Starts a new pass over the calibration data: input name -> array or tensor, batch first."""


@dataclass(frozen=True)
class StepReport:
    """What one step did, for the manifest and the report.

    ``samples``: calibration samples it used; ``details``: figures as JSON values, among them "layers", one mapping a
    layer with at least "layer" and what was measured before and after; ``seconds``: filled in by the recipe's run.
    """

    step: str
    samples: int
    details: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class GraphStep(Protocol):
    """``title`` names the step in reports and progress bars."""

    title: ClassVar[str]

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Rewrite ``graph``, already prepared for the target, in place; the function stays the same."""
        ...


class ModelStep(Protocol):
    """``title`` names the step in reports and progress bars."""

    title: ClassVar[str]

    def apply(self, model: QuantizedModel, batches: Batches, events: Events) -> StepReport:
        """Change ``model`` in place; quantizers that have an encoding are on before and after."""
        ...


Step = GraphStep | ModelStep


def is_graph_step(step: Step) -> TypeGuard[GraphStep]:
    """True for a step that acts before planning."""
    return hasattr(step, "apply_to_graph")
