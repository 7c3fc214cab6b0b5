"""A Gemm bias that is broadcast, (1, N), (1,) or a scalar, becomes the vector of N elements that int32 biases are.

Legal when the bias is a constant and broadcasts to one row. A bias that other operators share becomes a copy.
"""

from __future__ import annotations

import numpy as np

from hexaquant.ir.edit import add_constant, set_constant, sole_consumer
from hexaquant.ir.graph import Graph, constant, shape_of


def form_bias_vector(graph: Graph) -> int:
    """Returns the number of biases changed."""
    changed = 0
    for node in graph.nodes:
        bias = node.inputs[2] if node.op_type == "Gemm" and len(node.inputs) > 2 else None
        data = constant(bias)
        shape = shape_of(node.outputs[0])
        size = shape[-1] if shape else None
        if bias is None or data is None or not isinstance(size, int) or data.shape == (size,):
            continue
        if data.size not in (1, size) or data.shape[-1:] not in ((), (1,), (size,)):
            continue
        vector = np.broadcast_to(data.reshape(-1), (size,)).copy()
        if sole_consumer(bias) is node:
            set_constant(bias, vector)
        else:
            node.replace_input_with(2, add_constant(graph.model.graph, bias.name or "bias", vector))
        changed += 1
    return changed
