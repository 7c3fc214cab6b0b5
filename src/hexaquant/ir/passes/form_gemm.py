"""Linear layers in one form: MatMul + Add -> Gemm, and Gemm without alpha and beta.

1. MatMul + Add: x has rank 2, the weight is a constant matrix [K, N], the bias a constant of shape [N] (or [1, N]), and
   only the Add reads the product. Weight and bias keep their names (transB = 0).
2. alpha and beta of a Gemm are multiplied into weight and bias when these are constants that nothing else reads.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import private_constant, replace_node, set_constant
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.match import is_op, next_op, other_operand


def form_gemm(graph: Graph) -> int:
    """Returns the number of nodes rewritten."""
    changed = 0
    for node in graph.nodes:
        if node.graph is None:
            continue
        if is_op(node, "MatMul"):
            changed += _fuse_bias(node)
        elif is_op(node, "Gemm"):
            changed += _fold_factors(node)
    return changed


def _fuse_bias(node: oir.Node) -> bool:
    x = node.inputs[0]
    weight = constant(node.inputs[1])
    add = next_op(node.outputs[0], "Add")
    if x is None or x.shape is None or len(x.shape) != 2 or weight is None or weight.ndim != 2 or add is None:
        return False
    bias = other_operand(add, node.outputs[0])
    data = constant(bias)
    if bias is None or data is None or data.shape not in ((weight.shape[1],), (1, weight.shape[1])):
        return False
    if data.ndim == 2:
        if private_constant(bias) is None:
            return False
        set_constant(bias, data.reshape(-1))
    replace_node(add, "Gemm", [x, node.inputs[1], bias], {})
    return True


def _fold_factors(node: oir.Node) -> int:
    changed = 0
    for name, index in (("alpha", 1), ("beta", 2)):
        factor = node.attributes[name].as_float() if name in node.attributes else 1.0
        value = node.inputs[index] if len(node.inputs) > index else None
        data = private_constant(value)
        if factor == 1.0 or value is None or data is None:
            continue
        set_constant(value, (np.asarray(data, np.float64) * factor).astype(data.dtype))
        node.attributes.pop(name)
        changed += 1
    return changed
