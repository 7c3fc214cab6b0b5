"""Step: offline Hadamard rotation of residual streams (transforms/rotate_transformer.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hexaquant.core.events import Events
from hexaquant.ir.graph import Graph
from hexaquant.ptq.graph_change import changed_layers, require_same_function
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.transforms.rotate_transformer import rotate_transformer

TOLERANCE = 1e-4
"""Of the outputs' size."""


@dataclass(frozen=True)
class RotateTransformer:
    """``extra_linears``: also where a normalization's output is added to the stream again (post-norm: BERT), at the
    price of one linear layer for each normalization; worth it with 8-bit activations only. ``seed``: of the signs.
    """

    extra_linears: bool = False
    seed: int = 0

    title: ClassVar[str] = "rotate transformer"

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Raises HexaquantError should the function change on the first batch."""
        before = graph.clone()
        result = rotate_transformer(graph, extra_linears=self.extra_linears, seed=self.seed)
        details = {
            "streams": result.spaces,
            "folded": result.folded,
            "extra_linears": result.extra,
            "declined": [{"tensor": name, "reason": why} for name, why in result.declined.items()],
            "deviation": require_same_function(before, graph, batches, TOLERANCE, self.title),
            "layers": changed_layers(before, graph),
        }
        for entry in details["declined"][:1] if not result.spaces else []:  # type: ignore[index]
            events.note(self.title, f"nothing is rotated: {entry['reason']}")
        return StepReport(self.title, 0, details)
