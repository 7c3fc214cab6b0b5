"""Tensors of length zero go: they hold nothing.

1. What has a dimension of 0 becomes a constant of that shape (a batch counts as 1), whatever computes it.
2. A Concat leaves out operands that are empty along its axis.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, int_attribute
from hexaquant.ir.graph import Graph
from hexaquant.ir.symbolic import dims_of


def drop_empty(graph: Graph) -> int:
    """Returns the number of values and operands removed."""
    changed = 0
    for node in graph.nodes:
        if node.op_type == "Concat" and node.domain == "":
            changed += _drop_operands(node)
        for value in node.outputs:
            changed += _empty_constant(graph, value)
    return changed


def _drop_operands(node: oir.Node) -> int:
    axis = int_attribute(node, "axis", 0)
    full = [value for value in node.inputs if not _is_empty(value, axis)]
    if not full or len(full) == len(node.inputs):
        return 0
    dropped = len(node.inputs) - len(full)
    for index, value in enumerate(full):
        node.replace_input_with(index, value)
    node.resize_inputs(len(full))
    return dropped


def _is_empty(value: oir.Value | None, axis: int) -> bool:
    dims = dims_of(value)
    return dims is not None and -len(dims) <= axis < len(dims) and dims[axis] == 0


def _empty_constant(graph: Graph, value: oir.Value) -> int:
    dims = dims_of(value)
    if dims is None or 0 not in dims or value.is_graph_output() or value.dtype is None or not list(value.uses()):
        return 0
    shape = [int(d) if d.is_Integer else 1 for d in dims]
    array = np.zeros(shape, value.dtype.numpy())
    value.replace_all_uses_with(add_constant(graph.model.graph, f"{value.name}_empty", array))
    return 1
