"""Step: cross-layer equalization (transforms/equalize_layers.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hexaquant.core.events import Events
from hexaquant.ir.graph import Graph
from hexaquant.ptq.graph_change import changed_layers, channel_maxima, require_same_function
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.transforms.equalize_layers import equalize_layers

TOLERANCE = 1e-4
"""Of the outputs' size; float32 networks of 100 layers stay below 1e-5."""


@dataclass(frozen=True)
class EqualizeLayers:
    """``residuals``: solve sums of layers jointly (False: leave them alone). ``cross_relu6``: treat ReLU6 as ReLU in
    channels that never come near 6 on the calibration data; the function is then the same on such data only.
    """

    residuals: bool = True
    cross_relu6: bool = False

    title: ClassVar[str] = "equalize layers"

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Raises HexaquantError should the function change on the first batch."""
        before, maxima = graph.clone(), {}
        if self.cross_relu6:
            clips = [n.inputs[0].name or "" for n in graph.nodes if n.op_type == "Clip" and n.inputs[0] is not None]
            maxima = channel_maxima(graph, events.track(batches(), self.title), clips) if clips else {}
        result = equalize_layers(graph, clip_maxima=maxima, residuals=self.residuals)
        changed = require_same_function(before, graph, batches, TOLERANCE, self.title)
        details = {
            "channels": result.scaling.size - 1,
            "rounds": result.rounds,
            "deviation": changed,
            "layers": changed_layers(before, graph),
            "left_alone": [{"layer": layer, "reason": why} for layer, why in result.scaling.reasons.items()],
        }
        return StepReport(self.title, 0, details)
