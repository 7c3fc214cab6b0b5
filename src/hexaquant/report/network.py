"""The network as the report draws it: operators with their tensors and origin, laid out in layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hexaquant.ir.graph import Graph, shape_of
from hexaquant.report.layout import lay_out
from hexaquant.sim.plan import QuantPlan

WIDTH, HEIGHT = 190, 46
"""Size of a node's box."""
STEP_X, STEP_Y, MARGIN = 214, 78, 24
"""Distances of boxes, and around all of them."""


@dataclass(frozen=True)
class Node:
    """One operator, or an input or output of the network. ``weights``: constants that it reads."""

    name: str
    op: str
    module: str = ""
    source: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The user's name of the layer."""
        return self.module or self.name


@dataclass(frozen=True)
class Network:
    """``nodes`` in topological order; ``edges``: (from, to, tensor); ``shapes``: of every tensor."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int, str], ...]
    shapes: Mapping[str, Sequence[int | str | None]]

    def drawing(self) -> dict[str, Any]:
        """Boxes and lines in pixels: {width, height, box: [w, h], at: [[x, y]], lines: [{a, b, tensor, points}]}."""
        layout = lay_out(len(self.nodes), [(a, b) for a, b, _ in self.edges])

        def at(point: tuple[float, int]) -> list[float]:
            return [round(MARGIN + point[0] * STEP_X), MARGIN + HEIGHT // 2 + point[1] * STEP_Y]

        lines = [
            {"a": a, "b": b, "tensor": tensor, "points": [at(point) for point in points]}
            for (a, b, tensor), points in zip(self.edges, layout.edges)
        ]
        width = round(2 * MARGIN + max(layout.width, 1) * STEP_X)
        height = 2 * MARGIN + HEIGHT + max(layout.layers - 1, 0) * STEP_Y
        places = [at(point) for point in layout.nodes]
        return {"width": width, "height": height, "box": [WIDTH, HEIGHT], "at": places, "lines": lines}


def read_network(graph: Graph) -> Network:
    """The network of ``graph`` with its inputs first and its outputs last."""
    constants = graph.initializers
    nodes = [Node(v.name or "", "Input", outputs=(v.name or "",)) for v in graph.inputs]
    for node in graph.nodes:
        origin = graph.origin(node)
        read = [value.name or "" for value in node.inputs if value is not None]
        nodes.append(
            Node(
                node.name or "",
                node.op_type,
                origin.module,
                origin.source,
                tuple(name for name in read if name not in constants),
                tuple(value.name or "" for value in node.outputs if value.name),
                tuple(name for name in read if name in constants),
                {name: str(attribute.value)[:80] for name, attribute in node.attributes.items()},
            )
        )
    nodes += [Node(v.name or "", "Output", inputs=(v.name or "",)) for v in graph.outputs]
    shapes = {v.name or "": list(shape_of(v) or ()) for v in graph.values()}
    return Network(tuple(nodes), tuple(_edges(nodes)), shapes)


def _edges(nodes: Sequence[Node]) -> list[tuple[int, int, str]]:
    made: dict[str, int] = {}
    edges = []
    for index, node in enumerate(nodes):
        edges += [(made[name], index, name) for name in dict.fromkeys(node.inputs) if name in made]
        made.update(dict.fromkeys(node.outputs, index))
    return edges


def bits_of(plan: QuantPlan | None, tensor: str) -> str:
    """ "8", "16", "float16" or "float32": what ``tensor`` is on the target; "" where nobody knows."""
    if plan is None or tensor not in plan.tensors:
        return ""
    entry = plan.root(tensor)
    if entry.how == "fused" and entry.source is not None and entry.source in plan.tensors:
        entry = plan.root(entry.source)
    if entry.grid is None:
        return "float32" if entry.how == "float" else ""
    return f"float{entry.grid.bits}" if entry.grid.is_float else str(entry.grid.bits)
