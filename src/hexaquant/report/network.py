"""The network as the report draws it: operators with their tensors and origin, laid out in layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hexaquant.core.encoding import Encoding
from hexaquant.ir.graph import Graph, shape_of
from hexaquant.report.layout import lay_out
from hexaquant.report.schema import TensorEntry
from hexaquant.report.sources import Sources
from hexaquant.sim.plan import QuantPlan

WIDTH = 190
HEIGHT = 46
"""Size of a node's box."""
STEP_X = 214
STEP_Y = 78
MARGIN = 24
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


# Everything the report knows about each tensor, joined from plan, encodings, weights, analysis, debugger and proof.

BINS = 48
"""Of the histogram of a weight."""
Card = dict[str, Any]


def tensor_cards(
    sources: Sources, network: Network, graph: Graph, plan: QuantPlan | None, encodings: Mapping[str, Encoding]
) -> dict[str, Card]:
    """Tensor -> what is known about it; entries without a value are left out."""
    constants = graph.initializers
    cards: dict[str, Card] = {}
    for name, shape in network.shapes.items():
        value = constants.get(name)
        data = None if value is None or value.const_value is None else value.const_value.numpy()
        cards[name] = {"shape": list(shape), **_planned(plan, name), **_encoded(encodings.get(name)), **_weight(data)}
    for entry in sources.analysis.tensors if sources.analysis else ():
        cards.setdefault(entry.name, {}).update(_analysed(entry))
    for tensor in sources.debug.tensors if sources.debug else ():
        figures = tensor.model_dump(include={"sqnr_fp32_sim_db", "sqnr_sim_target_db", "max_steps"})
        cards.setdefault(tensor.name, {}).update(_known(figures))
    for row in sources.coverage or ():
        if row.tensor and row.tensor in cards:
            cards[row.tensor].setdefault("coverage", {"verdict": row.verdict, "lowered": row.lowered, "has": row.has})
    return cards


def _planned(plan: QuantPlan | None, name: str) -> Card:
    if plan is None or name not in plan.tensors:
        return {}
    entry = plan[name]
    told = {"role": entry.role, "how": entry.how, "source": entry.source, "reason": entry.reason}
    grid = None if entry.grid is None else str(entry.grid)
    return _known({**told, "grid": grid, "bits": bits_of(plan, name)})


def _encoded(encoding: Encoding | None) -> Card:
    if encoding is None or encoding.grid.is_float:
        return {}
    single = encoding.step.numel() == 1
    told = {
        "encoding_min": figure(float(encoding.min.min())),
        "encoding_max": figure(float(encoding.max.max())),
        "scales": int(encoding.step.numel()),
        "scale": figure(float(encoding.step.reshape(-1)[0])) if single else None,
        "offset": int(encoding.offset.reshape(-1)[0]) if single else None,
        "scale_range": None if single else [figure(float(encoding.step.min())), figure(float(encoding.step.max()))],
    }
    return _known(told)


def _weight(data: np.ndarray | None) -> Card:
    """Range and histogram of a float constant; the value itself where there is one only."""
    if data is None or data.dtype.kind != "f":
        return {}
    if data.size == 1:
        return _known({"value": figure(float(data.reshape(-1)[0]))})
    values = data.astype(np.float64).ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        return {}
    counts, edges = np.histogram(values, bins=BINS)
    histogram = {"low": figure(edges[0]), "high": figure(edges[-1]), "counts": counts.tolist()}
    told = {"min": values.min(), "max": values.max(), "mean": values.mean(), "std": values.std()}
    return {**{key: figure(float(value)) for key, value in told.items()}, "histogram": histogram}


def _analysed(entry: TensorEntry) -> Card:
    figures = {
        key: None if value is None else figure(value)
        for key in ("min", "max", "mean", "std", "encoding_min", "encoding_max", "clipped_fraction")
        if (value := getattr(entry, key)) is None or isinstance(value, float)
    }
    histogram = None if entry.histogram is None else entry.histogram.model_dump()
    outliers = [[o.channel, figure(o.ratio)] for o in entry.outlier_channels] or None
    return _known({**figures, "histogram": histogram, "outliers": outliers})


def _known(values: Mapping[str, Any]) -> Card:
    return {key: value for key, value in values.items() if value not in (None, "")}


def figure(value: float) -> float | None:
    """``value`` to six digits, which is what a page shows; None when it is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
