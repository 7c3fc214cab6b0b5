"""Resize with ``sizes`` that hold a symbolic batch -> Resize with constant ``scales``.

1. Every symbolic entry of ``sizes`` is the input's own dimension at that place (scale 1).
2. Every other entry is a number n for a static input dimension m, and floor(m * float32(n / m)) == n with n / m exact
   in float32: the sampling positions are then the same.
"""

from __future__ import annotations

import numpy as np

from hexaquant.ir.edit import add_constant
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.infer_shapes import infer_node
from hexaquant.ir.symbolic import Contents, dims_of


def scale_resizes(graph: Graph) -> int:
    """Returns the number of Resize nodes rewritten."""
    contents = Contents()
    changed = 0
    for node in graph.nodes:
        contents.evaluate(node)
        if node.op_type != "Resize" or node.domain != "" or len(node.inputs) < 4 or "axes" in node.attributes:
            continue
        sizes = contents.get(node.inputs[3])
        source = dims_of(node.inputs[0])
        if sizes is None or source is None or constant(node.inputs[3]) is not None or len(sizes) != len(source):
            continue
        scales = [_scale(old, new) for old, new in zip(source, sizes)]
        if any(s is None for s in scales):
            continue
        value = add_constant(graph.model.graph, f"{node.outputs[0].name}_scales", np.array(scales, np.float32))
        node.replace_input_with(2, value)
        node.resize_inputs(3)
        infer_node(node, contents)
        changed += 1
    return changed


def _scale(old: object, new: object) -> float | None:
    if old == new:
        return 1.0
    try:
        m, n = int(old), int(new)  # type: ignore[call-overload]
    except TypeError:
        return None
    ratio = float(np.float32(n / m))
    return ratio if ratio * m == n else None
