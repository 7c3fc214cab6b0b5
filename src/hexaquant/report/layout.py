"""Layered drawing of a directed acyclic graph (Sugiyama, Tagawa & Toda 1981), from top to bottom.

1. Layers by longest path, so that every edge points down.
2. Edges over several layers pass a waypoint in each layer between.
3. Order within layers by the barycentre of the neighbours, sweeping down and up.
4. Positions by least squares towards the neighbours' mean under a smallest distance (isotonic regression by pooling
   adjacent violators); waypoints weigh more, so that long edges are straight.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ORDERING = 12
PLACING = 24
"""Sweeps."""
NARROW = 0.12
"""Room that a waypoint takes, of a node's."""
STRAIGHT = 8.0
"""Weight of a waypoint's neighbours that are waypoints too."""


@dataclass(frozen=True)
class Layout:
    """``nodes``: (x, layer) of each node; ``edges``: for each edge the (x, layer) it passes, ends included.

    x is in widths of a node, from 0; ``width`` and ``layers`` are the extent.
    """

    nodes: tuple[tuple[float, int], ...]
    edges: tuple[tuple[tuple[float, int], ...], ...]
    width: float
    layers: int


@dataclass
class _Drawing:
    """Nodes and waypoints as numbers; the first ``real`` are nodes."""

    real: int
    layer: list[int]
    above: list[list[int]] = field(default_factory=list)
    below: list[list[int]] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)

    def room(self, item: int) -> float:
        return 1.0 if item < self.real else NARROW


def lay_out(count: int, edges: Sequence[tuple[int, int]]) -> Layout:
    """Positions of ``count`` nodes, numbered in topological order, with ``edges`` (from, to)."""
    if not count:
        return Layout((), (), 0.0, 0)
    drawing = _Drawing(count, _longest_paths(count, edges))
    paths = _with_waypoints(drawing, edges)
    _order(drawing)
    x = _place(drawing)
    left = min(x[item] - drawing.room(item) / 2 for item in range(len(x)))
    right = max(x[item] + drawing.room(item) / 2 for item in range(len(x)))
    points = [(round(x[item] - left, 3), drawing.layer[item]) for item in range(len(x))]
    drawn = tuple(tuple(points[item] for item in path) for path in paths)
    return Layout(tuple(points[:count]), drawn, round(right - left, 3), len(drawing.rows))


def _longest_paths(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    layer = [0] * count
    for source, target in sorted(edges):
        if source >= target:
            raise ValueError(f"edge {source} -> {target} points back: number the nodes in topological order")
        layer[target] = max(layer[target], layer[source] + 1)
    return layer


def _with_waypoints(drawing: _Drawing, edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Fill the neighbours and rows of ``drawing``; the path of each edge."""
    paths = []
    for source, target in edges:
        path = [source]
        for layer in range(drawing.layer[source] + 1, drawing.layer[target]):
            path.append(len(drawing.layer))
            drawing.layer.append(layer)
        paths.append([*path, target])
    drawing.above = [[] for _ in drawing.layer]
    drawing.below = [[] for _ in drawing.layer]
    for path in paths:
        for upper, lower in itertools.pairwise(path):
            drawing.below[upper].append(lower)
            drawing.above[lower].append(upper)
    drawing.rows = [[] for _ in range(max(drawing.layer) + 1)]
    for item, layer in enumerate(drawing.layer):
        drawing.rows[layer].append(item)
    return paths


def _order(drawing: _Drawing) -> None:
    """Sort each row by the mean place of its neighbours in the row before, then in the row after, in turn."""
    place = {item: index for row in drawing.rows for index, item in enumerate(row)}
    for sweep in range(ORDERING):
        down = sweep % 2 == 0
        neighbours = drawing.above if down else drawing.below
        for row in drawing.rows if down else reversed(drawing.rows):
            row.sort(key=lambda item: _mean(place, neighbours[item], place[item]))
            place.update({item: index for index, item in enumerate(row)})


def _mean(place: Mapping[int, float], items: Sequence[int], default: float) -> float:
    return sum(place[item] for item in items) / len(items) if items else default


def _place(drawing: _Drawing) -> list[float]:
    """x of every item, in widths of a node."""
    x = [0.0] * len(drawing.layer)
    for row in drawing.rows:
        for index, item in enumerate(row):
            x[item] = index - len(row) / 2
    for sweep in range(PLACING):
        down = sweep % 2 == 0
        near = drawing.above if down else drawing.below
        for row in drawing.rows if down else reversed(drawing.rows):
            wanted, weights = zip(*(_pull(drawing, x, item, near[item]) for item in row))
            for item, position in zip(row, _apart(drawing, row, wanted, weights)):
                x[item] = position
    return x


def _pull(drawing: _Drawing, x: Sequence[float], item: int, near: Sequence[int]) -> tuple[float, float]:
    """(where ``item`` wants to be, how much)."""
    if not near:
        return x[item], 0.1
    weights = [STRAIGHT if item >= drawing.real and other >= drawing.real else 1.0 for other in near]
    total = sum(weights)
    return sum(w * x[other] for w, other in zip(weights, near)) / total, total


def _apart(drawing: _Drawing, row: Sequence[int], wanted: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Positions nearest to ``wanted`` (weighted least squares) in the row's order and without overlaps."""
    shifts = [0.0]
    for left, right in itertools.pairwise(row):
        shifts.append(shifts[-1] + (drawing.room(left) + drawing.room(right)) / 2)
    pools: list[tuple[float, float, int]] = []
    for position, weight, shift in zip(wanted, weights, shifts):
        value = position - shift
        mass = weight
        size = 1
        while pools and pools[-1][0] > value:
            before, heavy, many = pools.pop()
            value = (before * heavy + value * mass) / (heavy + mass)
            mass = heavy + mass
            size = size + many
        pools.append((value, mass, size))
    values = [value for value, _, size in pools for _ in range(size)]
    return [value + shift for value, shift in zip(values, shifts)]
