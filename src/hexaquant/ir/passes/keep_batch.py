"""Reshapes that repeat a batch of 1 as a number copy it instead, so that several samples can run at once.

An exporter that was given one example writes Reshape(x, [1, 16]); [0, 16] is the same for a batch of 1 (in ONNX a 0
copies the input's dimension) and right for any other. Legal when

1. every input of the network has a first dimension of 1, so that dimension 0 is its batch;
2. the target is a constant whose first entry is 1 and that holds no 0;
3. the reshaped tensor has a first dimension of 1, and the other dimensions hold as many elements before and after.
"""

from __future__ import annotations

import math

import numpy as np
import sympy

from hexaquant.ir.edit import add_constant
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.symbolic import dims_of


def keep_batch(graph: Graph) -> int:
    """Returns the number of Reshapes that copy their batch now."""
    if not graph.inputs or any((dims_of(value) or [0])[0] != 1 for value in graph.inputs):
        return 0
    changed = 0
    for node in graph.nodes:
        if node.domain != "" or node.op_type != "Reshape":
            continue
        target = constant(node.inputs[1])
        before = dims_of(node.inputs[0])
        if target is None or target.size < 2 or target[0] != 1 or not before or not _same_rest(before, target):
            continue
        copied = np.concatenate([[0], target[1:]]).astype(np.int64)
        node.attributes.pop("allowzero", None)  # it says what a 0 means, and there was none
        node.replace_input_with(1, add_constant(graph.model.graph, f"{node.outputs[0].name}_shape", copied))
        changed += 1
    return changed


def _same_rest(before: list[sympy.Expr], target: np.ndarray) -> bool:
    """Whether dimension 0 stays what it is: 1 before, and as many elements behind it before and after."""
    if before[0] != 1 or not all(dim.is_Integer for dim in before):
        return False
    rest = [int(dim) for dim in target[1:]]
    if 0 in rest:
        return False
    wanted = math.prod(int(dim) for dim in before[1:])
    return -1 in rest or math.prod(rest) == wanted
