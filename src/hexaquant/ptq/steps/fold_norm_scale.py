"""Step: gamma and beta of normalizations into the linear layers behind them (transforms/fold_norm_scale.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hexaquant.core.events import Events
from hexaquant.ir.graph import Graph
from hexaquant.ptq.graph_change import changed_layers, require_same_function
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.transforms.fold_norm_scale import fold_norm_scale

TOLERANCE = 1e-4
"""Of the outputs' size."""


@dataclass(frozen=True)
class FoldNormScale:
    """No settings: all normalizations that qualify are folded."""

    title: ClassVar[str] = "fold norm scale"

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Raises HexaquantError should the function change on the first batch."""
        before = graph.clone()
        result = fold_norm_scale(graph)
        details = {
            "norms": [{"layer": name, "gamma_ratio_before": ratio} for name, ratio in result.layers.items()],
            "declined": [{"layer": name, "reason": why} for name, why in result.declined.items()],
            "deviation": require_same_function(before, graph, batches, TOLERANCE, self.title),
            "layers": changed_layers(before, graph),
        }
        return StepReport(self.title, 0, details)
