"""A fully connected layer of one input feature becomes a 1x1 convolution.

    Gemm (x (B, 1), W, b)   ->   Reshape (-1, 1, 1), Conv (W (N, 1, 1), b), Reshape (-1, N)

On one row of it Qualcomm's libraries never come back in integer types (release 2.7.0, more than one output, whatever
the architecture). Legal when:

1. the weight is a constant that nothing else reads, with one input feature and more than one output;
2. the input is as the Gemm has it (no transA, alpha and beta 1), of one row or of a number of rows not known yet;
3. the bias, if any, is a constant of N elements.

The weight keeps its name.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, insert_before, int_attribute, private_constant, replace_node, set_constant
from hexaquant.ir.graph import Graph, constant, shape_of


def form_scalar_layer(graph: Graph) -> int:
    """Returns the number of layers rewritten."""
    changed = 0
    for node in graph.nodes:
        column = _column(node) if node.op_type == "Gemm" else None
        if column is not None:
            _rewrite(graph, node, column)
            changed += 1
    return changed


def _column(node: oir.Node) -> np.ndarray | None:
    """The weight as (N, 1), None where a condition does not hold."""
    weight, shape = private_constant(node.inputs[1]), shape_of(node.inputs[0]) if node.inputs[0] is not None else None
    if weight is None or weight.ndim != 2 or not shape or (isinstance(shape[0], int) and shape[0] != 1):
        return None
    column = weight if int_attribute(node, "transB", 0) else weight.T
    scales = [node.attributes[name].as_float() for name in ("alpha", "beta") if name in node.attributes]
    if column.shape[1] != 1 or len(column) < 2 or int_attribute(node, "transA", 0) or any(s != 1 for s in scales):
        return None
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    has_other_bias = len(node.inputs) > 2 and node.inputs[2] is not None and (bias is None or bias.size != len(column))
    return None if has_other_bias else column


def _rewrite(graph: Graph, node: oir.Node, column: np.ndarray) -> None:
    source, weight, output = node.inputs[0], node.inputs[1], node.outputs[0]
    assert source is not None and weight is not None
    name, rows, size = output.name or "layer", (shape_of(source) or (None,))[0], len(column)
    shape = add_constant(graph.model.graph, f"{name}_point_shape", np.array([-1, 1, 1], np.int64))
    back = add_constant(graph.model.graph, f"{name}_row_shape", np.array([-1, size], np.int64))
    point = insert_before(node, "Reshape", [source, shape], {}, f"{name}_point")
    point.shape, point.type = oir.Shape([rows, 1, 1]), source.type
    set_constant(weight, column[:, :, None])
    layer = insert_before(
        node, "Conv", [point, weight, *_bias(graph, node, size)], {"kernel_shape": [1]}, f"{name}_conv"
    )
    layer.shape, layer.type = oir.Shape([rows, size, 1]), output.type
    replace_node(node, "Reshape", [layer, back], {})


def _bias(graph: Graph, node: oir.Node, size: int) -> list[oir.Value]:
    value = node.inputs[2] if len(node.inputs) > 2 else None
    data = constant(value) if value is not None else None
    if value is None or data is None:
        return []
    if data.shape == (size,):
        return [value]
    return [add_constant(graph.model.graph, f"{value.name}_vector", data.reshape(-1))]
