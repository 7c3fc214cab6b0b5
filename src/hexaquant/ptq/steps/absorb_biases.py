"""Step: high-bias absorption (transforms/absorb_biases.py)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

from hexaquant.core.events import Events
from hexaquant.ir.graph import Graph
from hexaquant.ptq.graph_change import channel_maxima, require_same_function
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.transforms.absorb_biases import absorb_biases, absorbable

TOLERANCE = 1e-4
"""Of the outputs' size, on a batch of the calibration data."""


@dataclass(frozen=True)
class AbsorbBiases:
    """No settings. The function stays the same on calibration data; see the transform for where it need not."""

    title: ClassVar[str] = "absorb biases"

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Raises HexaquantError should the function change on the first batch."""
        names = list(absorbable(graph))
        if not names:
            return StepReport(self.title, 0, {"layers": []})
        before = graph.clone()
        minima = channel_maxima(graph, events.track(batches(), self.title), names, negated=True)
        layers = absorb_biases(graph, {name: -largest for name, largest in minima.items()})
        deviation = require_same_function(before, graph, batches, TOLERANCE, self.title)
        return StepReport(self.title, 0, {"deviation": deviation, "layers": [asdict(layer) for layer in layers]})
