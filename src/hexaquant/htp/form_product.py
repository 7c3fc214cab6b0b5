"""A product of two operands of rank 5 becomes one of rank 4 between reshapes.

    (A, B, C, M, K) @ (A, B, C, K, N)   ->   Reshape (A, BC, M, K), Reshape (A, BC, K, N), MatMul, Reshape

The target refuses products of rank 5 or computes them wrongly (-11 dB); those of rank 4 it computes right. Legal when:

1. both operands have rank 5, with the same first three dimensions: nothing is repeated;
2. all dimensions are known.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, insert_before, replace_node
from hexaquant.ir.graph import Graph, constant, shape_of


def form_product(graph: Graph) -> int:
    """Returns the number of products rewritten."""
    changed = 0
    for node in graph.nodes:
        if node.op_type == "MatMul" and _qualifies(node):
            _rewrite(graph, node)
            changed += 1
    return changed


def _qualifies(node: oir.Node) -> bool:
    left, right = (shape_of(value) if value is not None else None for value in node.inputs)
    if left is None or right is None or len(left) != 5 or len(right) != 5 or left[:3] != right[:3]:
        return False
    return all(isinstance(dim, int) for dim in (*left, *right))


def _rewrite(graph: Graph, node: oir.Node) -> None:
    output = node.outputs[0]
    name, full = output.name or "product", _dims(output)
    operands = [_merged(graph, node, value, f"{name}_{side}") for value, side in zip(node.inputs, ("left", "right"))]
    product = insert_before(node, "MatMul", operands, {}, f"{name}_merged")
    product.shape, product.type = oir.Shape(_merge(full)), output.type
    shape = add_constant(graph.model.graph, f"{name}_shape", np.array(full, np.int64))
    replace_node(node, "Reshape", [product, shape], {})


def _merged(graph: Graph, node: oir.Node, value: oir.Value | None, name: str) -> oir.Value:
    """``value`` with its second and third axes merged; a constant is reshaped at once."""
    assert value is not None
    shape, data = _merge(_dims(value)), constant(value)
    if data is not None:
        return add_constant(graph.model.graph, f"{value.name}_merged", data.reshape(shape))
    wanted = add_constant(graph.model.graph, f"{name}_shape", np.array(shape, np.int64))
    result = insert_before(node, "Reshape", [value, wanted], {}, name)
    result.shape, result.type = oir.Shape(shape), value.type
    return result


def _dims(value: oir.Value) -> list[int]:
    return [int(str(dim)) for dim in shape_of(value) or ()]


def _merge(shape: list[int]) -> list[int]:
    return [shape[0], shape[1] * shape[2], *shape[3:]]
