"""Concats whose operands have so unlike ranges that one grid does not hold them all.

A Concat only moves data: all its operands share one grid. Boxes of 0..600 and scores of 0..0.1 in one 8-bit tensor
leave the scores a step of 2.35: they are all 0, at an SQNR of the whole of 46 dB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as oir
from torch import Tensor

from hexaquant.ir.graph import Graph
from hexaquant.ir.output_slices import output_slices
from hexaquant.ptq.graph_change import watch
from hexaquant.sim.plan import QuantPlan

LEAST_DB = 12.0
"""SQNR that the shared grid must leave to each operand."""

LEAST_RATIO = 16.0
"""Of the largest value of all to that of an operand: one that hardly varies needs no grid of its own."""

SPLIT = "--split-outputs: each operand becomes an output of its own, on a grid of its own"
BY_HAND = "16 bits for the Concat and what it joins (--overrides), or join after both were brought to one range"


@dataclass(frozen=True)
class Seen:
    """What data showed of a tensor: its smallest and largest value and its variance."""

    low: float
    high: float
    variance: float

    @property
    def peak(self) -> float:
        """max |x|."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Unlike:
    """``operand`` of ``node`` keeps ``db`` on the shared grid, whose step is ``step``; ``fix``: what to type."""

    node: oir.Node
    operand: str
    seen: Seen
    whole: Seen
    step: float
    db: float
    fix: str

    @property
    def text(self) -> str:
        found = self.seen
        whole = self.whole
        return (
            f"'{self.operand}' ({found.low:.3g} to {found.high:.3g}) is joined with values of {whole.low:.3g} to "
            f"{whole.high:.3g}"
        )

    @property
    def why(self) -> str:
        return f"operands of a Concat share one grid, whose step of {self.step:.3g} leaves this one {self.db:.0f} dB"


def joined_tensors(graph: Graph) -> list[str]:
    """The operands of all Concats of two or more tensors that are computed."""
    return list(dict.fromkeys(v.name or "" for node in _concats(graph) for v in _computed(node)))


def find_unlike(graph: Graph, plan: QuantPlan, samples: Iterable[Mapping[str, Any]]) -> list[Unlike]:
    """The Concats that spoil an operand, by what ``samples`` (batches by input name) show of the float network."""
    names = joined_tensors(graph)
    seen = dict[str, Seen]()
    if not names:
        return []

    def look(name: str) -> Callable[[Tensor], None]:
        def see(x: Tensor) -> None:
            new = Seen(float(x.min()), float(x.max()), float(x.double().var(correction=0)))
            old = seen.get(name)
            low, high = (new.low, new.high) if old is None else (min(old.low, new.low), max(old.high, new.high))
            seen[name] = Seen(low, high, new.variance if old is None else max(old.variance, new.variance))

        return see

    watch(graph, samples, {name: look(name) for name in names})
    return list(unlike_operands(graph, plan, seen))


def unlike_operands(graph: Graph, plan: QuantPlan, seen: Mapping[str, Seen]) -> Iterator[Unlike]:
    """One for each Concat of ``graph`` that spoils an operand; the operand that suffers most."""
    apart = {part.concat for parts in output_slices(graph).values() for part in parts}
    for node in _concats(graph):
        tensor = node.outputs[0].name or ""
        grid = plan.root(tensor).grid if tensor in plan.tensors else None
        parts = {v.name or "": seen[v.name or ""] for v in _computed(node) if (v.name or "") in seen}
        parts = {name: part for name, part in parts.items() if part.high > part.low}
        if grid is None or grid.is_float or len(parts) < 2:
            continue
        low = min(0.0, *(p.low for p in parts.values()))
        high = max(0.0, *(p.high for p in parts.values()))
        step = (high - low) / (2**grid.bits - 1)
        decibels = {name: 10 * math.log10(max(p.variance, 1e-30) / (step**2 / 12)) for name, p in parts.items()}
        worst = min(decibels, key=decibels.__getitem__)
        whole = Seen(low, high, 0.0)
        if decibels[worst] < LEAST_DB and whole.peak > LEAST_RATIO * parts[worst].peak:
            fix = SPLIT if str(graph.origin(node)) in apart else BY_HAND
            yield Unlike(node, worst, parts[worst], whole, step, decibels[worst], fix)


def _concats(graph: Graph) -> list[oir.Node]:
    return [node for node in graph.nodes if node.op_type == "Concat" and len(_computed(node)) > 1]


def _computed(node: oir.Node) -> list[oir.Value]:
    return [v for v in node.inputs if v is not None and v.producer() is not None]
