"""Step: learned rotation of linear bottlenecks (transforms/rotate_bottlenecks.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.ir.graph import Graph
from hexaquant.ptq.graph_change import changed_layers, require_same_function
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.transforms.flat_rotation import STEPS
from hexaquant.transforms.rotate_bottlenecks import rotate_bottlenecks

TOLERANCE = 1e-4
"""Of the outputs' size."""


@dataclass(frozen=True)
class RotateBottlenecks:
    """``steps`` of learning a space; 0 leaves the rotations random. ``seed``: of where they start."""

    steps: int = STEPS
    seed: int = 0

    title: ClassVar[str] = "rotate bottlenecks"

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise InputError(f"rotate_bottlenecks: 'steps' is at least 0, not {self.steps}")

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Raises HexaquantError should the function change on the first batch."""
        before = graph.clone()
        result = rotate_bottlenecks(graph, steps=self.steps, seed=self.seed)
        details = {
            "spaces": [{"channels": size, "layers": names} for size, names in zip(result.sizes, result.layers)],
            "declined": [] if result.sizes else [{"where": n, "reason": why} for n, why in result.declined.items()],
            "deviation": require_same_function(before, graph, batches, TOLERANCE, self.title),
            "layers": changed_layers(before, graph),
        }
        return StepReport(self.title, 0, details)
