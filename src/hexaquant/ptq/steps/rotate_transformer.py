"""Step: offline Hadamard rotation of residual streams and attention heads (transforms/rotate_transformer.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hexaquant.core.events import Events
from hexaquant.ir.graph import Graph
from hexaquant.ptq.graph_change import changed_layers, require_same_function
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.transforms.rotate_heads import RotatedHeads, rotate_heads
from hexaquant.transforms.rotate_transformer import rotate_transformer

TOLERANCE = 1e-4
"""Of the outputs' size."""


@dataclass(frozen=True)
class RotateTransformer:
    """``extra_linears``: also where a normalization's output is added to the stream again (post-norm: BERT), at the
    price of one linear layer for each normalization; worth it with 8-bit activations only. ``heads``: the values of
    attention heads too. ``seed``: of the signs.
    """

    extra_linears: bool = False
    heads: bool = True
    seed: int = 0

    title: ClassVar[str] = "rotate transformer"

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Raises HexaquantError should the function change on the first batch."""
        before = graph.clone()
        result = rotate_transformer(graph, extra_linears=self.extra_linears, seed=self.seed)
        heads = rotate_heads(graph, self.seed) if self.heads else RotatedHeads()
        declined = result.declined | heads.declined
        details = {
            "streams": result.spaces,
            "heads": heads.layers,
            "folded": result.folded,
            "extra_linears": result.extra,
            "declined": [{"where": name, "reason": why} for name, why in declined.items()],
            "deviation": require_same_function(before, graph, batches, TOLERANCE, self.title),
            "layers": changed_layers(before, graph),
        }
        if declined and not result.spaces and not heads.layers:
            events.note(self.title, f"nothing is rotated: {next(iter(declined.values()))}")
        return StepReport(self.title, 0, details)
