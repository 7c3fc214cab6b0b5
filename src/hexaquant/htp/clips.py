"""Chains of Min, Max and Clip with scalar constants become one Clip, or one Min of one Max where zero is outside.

Chains are shorter so, and a Clip whose bounds leave zero outside is one that the target computes wrongly behind many
operators (faults.py). Min(Max(x, low), high) is exact (above 46 dB in 8 bits, 65 dB in 16 bits).

A Clip that the range of its output covers costs nothing. With bounds (a, b) inside and (c, d) outside, c <= d, the
chain is one clamp to (clip(a, c, d), clip(b, c, d)).

Legal when the inner operators' outputs have no other consumer and are no outputs of the graph. A chain that gives a
constant is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, insert_before, replace_node, sole_consumer
from hexaquant.ir.graph import Graph, constant


@dataclass(frozen=True)
class Clamp:
    """min(max(source, low), high), low <= high; infinite where there is no bound. ``nodes``: the outermost first."""

    source: oir.Value
    low: float
    high: float
    nodes: tuple[oir.Node, ...]

    @property
    def holds_zero(self) -> bool:
        return self.low <= 0 <= self.high

    @property
    def is_wanted_form(self) -> bool:
        kinds = [node.op_type for node in self.nodes]
        if self.holds_zero:
            return len(kinds) == 1
        return kinds in (["Max"], ["Min"], ["Min", "Max"])

    def of(self, inner: Clamp) -> Clamp:
        """This clamp of what ``inner`` gives."""
        low, high = (min(max(bound, self.low), self.high) for bound in (inner.low, inner.high))
        return Clamp(inner.source, low, high, self.nodes + inner.nodes)


def form_clip(graph: Graph) -> int:
    """Returns the number of chains replaced."""
    changed = 0
    for node in reversed(list(graph.nodes)):
        clamp = None if node.graph is None else _chain(node)
        if clamp is None or clamp.is_wanted_form or clamp.low >= clamp.high:
            continue
        _emit(graph, clamp)
        changed += 1
    return changed


def _chain(node: oir.Node) -> Clamp | None:
    """``node`` and all clamps before it as one clamp."""
    clamp = _clamp(node)
    while clamp is not None:
        inner = clamp.source.producer()
        before = None if inner is None or sole_consumer(clamp.source) is None else _clamp(inner)
        if before is None:
            break
        clamp = clamp.of(before)
    return clamp


def _clamp(node: oir.Node) -> Clamp | None:
    if node.op_type == "Clip":
        source = node.inputs[0]
        bounds = [*node.inputs[1:], None, None][:2]
        low = -math.inf if bounds[0] is None else _scalar(bounds[0])
        high = math.inf if bounds[1] is None else _scalar(bounds[1])
    elif node.op_type in ("Max", "Min") and len(node.inputs) == 2:
        source, bound = _operands(node)
        low, high = (bound, math.inf) if node.op_type == "Max" else (-math.inf, bound)
    else:
        return None
    if source is None or source.dtype != oir.DataType.FLOAT or low is None or high is None or low > high:
        return None
    return Clamp(source, low, high, (node,))


def _operands(node: oir.Node) -> tuple[oir.Value | None, float | None]:
    """(computed operand, scalar constant) of a Max or Min of such two; else (None, None)."""
    for value, other in (node.inputs, node.inputs[::-1]):
        bound = _scalar(other)
        if value is not None and constant(value) is None and bound is not None:
            return value, bound
    return None, None


def _scalar(value: oir.Value | None) -> float | None:
    data = constant(value)
    return float(data.reshape(-1)[0]) if data is not None and data.size == 1 else None


def _emit(graph: Graph, clamp: Clamp) -> None:
    """Replace the nodes of ``clamp``."""
    outer, *inners = clamp.nodes
    name = outer.outputs[0].name or "clip"
    low, high = (
        add_constant(graph.model.graph, f"{name}_{side}", np.asarray(bound, np.float32))
        if math.isfinite(bound)
        else None
        for side, bound in (("low", clamp.low), ("high", clamp.high))
    )
    if low is None or high is None:
        replace_node(outer, "Min" if low is None else "Max", [clamp.source, high if low is None else low], {})
    elif clamp.holds_zero:
        replace_node(outer, "Clip", [clamp.source, low, high], {})
    else:
        above = insert_before(outer, "Max", [clamp.source, low], {}, f"{name}_above")
        above.shape = outer.outputs[0].shape
        above.type = outer.outputs[0].type
        replace_node(outer, "Min", [above, high], {})
    for inner in inners:
        graph.model.graph.remove(inner, safe=True)
