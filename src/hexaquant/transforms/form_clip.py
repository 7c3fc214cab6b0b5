"""Max(Min(x, high), low) and Min(Max(x, low), high) with scalar constants become Clip(x, low, high).

The target computes a 16-bit Max that follows a Min wrongly (9 to 18 dB on the emulator of release 2.7.0, either
alone is exact), and a Clip that the range of its output covers costs nothing.

Legal when low <= high, the inner operator's output has no other consumer and is no output of the graph. Then both
orders are the same function.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, replace_node, sole_consumer
from hexaquant.ir.graph import Graph, constant

OTHER = {"Max": "Min", "Min": "Max"}


def form_clip(graph: Graph) -> int:
    """Returns the number of pairs replaced."""
    changed = 0
    for outer in list(graph.nodes):
        value, bound = _operands(outer)
        inner = None if value is None else value.producer()
        if inner is None or inner.op_type != OTHER[outer.op_type] or sole_consumer(value) is not outer:
            continue
        source, limit = _operands(inner)
        low, high = (bound, limit) if outer.op_type == "Max" else (limit, bound)
        if source is None or low is None or high is None or low > high:
            continue
        name = outer.outputs[0].name or "clip"
        ends = [
            add_constant(graph.model.graph, f"{name}_{side}", np.asarray(end, np.float32))
            for side, end in (("low", low), ("high", high))
        ]
        replace_node(outer, "Clip", [source, *ends], {})
        graph.model.graph.remove(inner, safe=True)
        changed += 1
    return changed


def _operands(node: oir.Node) -> tuple[oir.Value | None, float | None]:
    """(computed operand, scalar constant) of a Max or Min of such two; else (None, None)."""
    if node.op_type not in OTHER or len(node.inputs) != 2:
        return None, None
    for value, other in (node.inputs, node.inputs[::-1]):
        data = constant(other)
        if value is not None and constant(value) is None and data is not None and data.size == 1:
            return value, float(data.reshape(-1)[0])
    return None, None
