"""Where a tensor is, in the user's words: the node that makes it (of a constant: reads it), and its origin."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as oir

from hexaquant.ir.graph import Graph
from hexaquant.sim.plan import QuantPlan

INPUT = "Input"
"""Operator type of a graph input."""


@dataclass(frozen=True)
class Place:
    """``layer``: the node's name; ``origin``: "blocks.3.conv2 (model.py:41)" where known; ``op``: its operator."""

    layer: str
    origin: str | None
    op: str

    @property
    def shown(self) -> str:
        """The origin where there is one, else the node."""
        return self.origin or self.layer


def find_places(graph: Graph, plan: QuantPlan) -> dict[str, Place]:
    """Tensor -> its place. The output of an activation that the target merges belongs to the layer before it."""
    found: dict[str, Place] = {}
    merged = set(plan.bypass)
    for value in graph.inputs:
        found[value.name or ""] = Place(value.name or "", None, INPUT)
    for node in graph.nodes:
        owner = _computing(node, merged)
        place = Place(owner.name or "", _origin(graph, owner), owner.op_type)
        for read in node.inputs:
            if read is not None and read.name and read.is_initializer():
                found.setdefault(read.name, place)
        found |= {value.name: place for value in node.outputs if value.name}
    return found


def _computing(node: oir.Node, merged: set[str]) -> oir.Node:
    source = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    return source if node.name in merged and source is not None else node


def _origin(graph: Graph, node: oir.Node) -> str | None:
    where = graph.origin(node)
    if where.module and where.source:
        return f"{where.module} ({where.source})"
    return where.module or where.source or None
