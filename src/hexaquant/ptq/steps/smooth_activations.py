"""Step: SmoothQuant migration (transforms/smooth_activations.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.ir.graph import Graph
from hexaquant.ptq.graph_change import require_same_function, watch
from hexaquant.ptq.step import Batches, StepReport
from hexaquant.transforms.smooth_activations import ALPHAS, read_tensors, smooth_activations

TOLERANCE = 1e-4
"""Of the outputs' size."""


@dataclass(frozen=True)
class SmoothActivations:
    """``alphas``: how much of the spread moves into the weights, tried for each group of layers beside leaving it
    alone; ``samples``: on which the output error is measured; ``weight_bits``: of the weights in that measurement.
    """

    alphas: tuple[float, ...] = ALPHAS
    samples: int = 4
    weight_bits: int = 8

    title: ClassVar[str] = "smooth activations"

    def __post_init__(self) -> None:
        if self.samples < 1 or not all(0 <= alpha <= 1 for alpha in self.alphas):
            raise InputError("smooth_activations takes at least one sample and alphas from 0 to 1")

    def apply_to_graph(self, graph: Graph, batches: Batches, events: Events) -> StepReport:
        """Raises HexaquantError should the function change on the first batch."""
        before, names = graph.clone(), read_tensors(graph)
        values: dict[str, Tensor] = {}

        def see(name: str) -> Callable[[Tensor], None]:
            return lambda x: values.update({name: torch.cat([values[name], x]) if name in values else x})

        watch(graph, _first(batches(), self.samples), {name: see(name) for name in names})
        groups = smooth_activations(graph, values, alphas=self.alphas, weight_bits=self.weight_bits)
        rows = [{"layer": ", ".join(g.layers)} | asdict(g) for g in groups if g.alpha is not None]
        deviation = require_same_function(before, graph, batches, TOLERANCE, self.title)
        details = {"groups": len(groups), "deviation": deviation, "layers": rows}
        return StepReport(self.title, self.samples, details)


def _first(batches: Any, samples: int) -> Iterator[Mapping[str, Any]]:
    """The first ``samples`` samples, batch by batch."""
    left = samples
    for batch in batches:
        if left <= 0:
            return
        part = {name: torch.as_tensor(value)[:left] for name, value in batch.items()}
        left -= len(next(iter(part.values())))
        yield part
