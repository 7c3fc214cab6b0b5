"""Which tensors lose what counts of them although their encodings are as good as their bits allow.

1. A logarithm (or a root, or 1 / x) of values of which many are less than one step from 0: on the grid they are 0.
2. A constant tensor is a fault only where everything passes through it: the largest value of all, by which a network
   normalizes, may well be constant, or vary by less than one step beside 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as oir

from hexaquant.analysis.statistics import TensorMeter
from hexaquant.ir.graph import Graph
from hexaquant.sim.plan import QuantPlan

STEEP = ("Log", "Sqrt", "Reciprocal")
"""Operators that tell small values apart more than large ones."""
LOST = 0.1
"""Part of the values below one step that is worth a word."""


def lost_near_zero(
    graph: Graph, plan: QuantPlan, meters: Mapping[str, TensorMeter]
) -> Iterator[tuple[oir.Node, float]]:
    """(steep operator, part of its input's values other than 0 that are less than one step from 0)."""
    for node in graph.nodes:
        source = (node.inputs[0].name or "") if node.op_type in STEEP and node.inputs[0] is not None else ""
        meter = meters.get(plan.root(source).name) if source in plan.tensors else None
        if meter is None or meter.encoding.grid.is_float:
            continue
        edges, counts = meter.histogram.trimmed()
        middles = (edges[1:] + edges[:-1]) / 2
        below = float(counts[middles.abs() < float(meter.encoding.scale)].sum() / counts.sum().clamp(min=1))
        if below > LOST:
            yield node, below


def all_passes_through(graph: Graph, name: str) -> bool:
    """Whether no output of ``graph`` can be reached from an input but through the tensor ``name``."""
    reached = {value for value in graph.inputs if value.name != name}
    for node in graph.nodes:
        if any(value in reached for value in node.inputs):
            reached |= {value for value in node.outputs if value.name != name}
    return not any(value in reached for value in graph.outputs)
