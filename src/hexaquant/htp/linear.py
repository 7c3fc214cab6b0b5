"""MatMul with a constant matrix, and the Add of a constant vector after it, become one Gemm between reshapes.

    (B, ..., S, K) @ (K, N) + b   ->   Reshape (-1, K), Gemm, Reshape (-1, ..., S, N)
    (B, K) @ (K, N) + b           ->   Gemm

On the target both are a fully connected layer, but the Gemm has an int32 bias inside the accumulator; MatMul and
Add would quantize the product, and the bias to 8 bits, on the way; and the encoding of the weight of a MatMul of
rank 2 does not arrive at the target (release 2.7.0). Legal when:

1. the matrix is a constant of rank 2 and the left operand is computed, of rank 2 or more;
2. all dimensions of the output but one are known, the last among them;
3. (with Add) only the Add reads the product, and its other operand is a constant vector of N elements.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, insert_before, replace_node, sole_consumer
from hexaquant.ir.graph import Graph, constant, shape_of
from hexaquant.ir.rule import Rule


def _output_shape(node: oir.Node) -> list[int] | None:
    """The output's dimensions, one of them (the unknown one, else the first) as -1, of a MatMul that qualifies."""
    if constant(node.inputs[0]) is not None:
        return None
    matrix = constant(node.inputs[1])
    shape = shape_of(node.outputs[0])
    if matrix is None or matrix.ndim != 2 or matrix.dtype != np.float32 or shape is None or len(shape) < 2:
        return None
    unknown = [axis for axis, dim in enumerate(shape) if not isinstance(dim, int)] or [0]
    if len(unknown) > 1 or unknown[0] == len(shape) - 1:
        return None
    return [-1 if axis == unknown[0] else int(str(dim)) for axis, dim in enumerate(shape)]


def _bias_add(node: oir.Node, size: int) -> oir.Node | None:
    add = sole_consumer(node.outputs[0])
    if add is None or add.op_type != "Add":
        return None
    other = add.inputs[1] if add.inputs[0] is node.outputs[0] else add.inputs[0]
    bias = constant(other)
    return add if bias is not None and bias.shape == (size,) else None


def _rewrite(graph: Graph, node: oir.Node, shape: list[int]) -> None:
    add = _bias_add(node, shape[-1])
    last = node if add is None else add
    matrix = node.inputs[1]
    assert matrix is not None and matrix.shape is not None
    inner = int(matrix.shape[0])  # type: ignore[arg-type]
    name = last.outputs[0].name or "linear"
    bias = None if add is None else next(v for v in add.inputs if v is not node.outputs[0])
    if len(shape) == 2:
        replace_node(last, "Gemm", [node.inputs[0], matrix, *([] if bias is None else [bias])], {})
        if add is not None:
            graph.model.graph.remove(node, safe=True)
        return
    flat_shape = add_constant(graph.model.graph, f"{name}_flat_shape", np.array([-1, inner], np.int64))
    flat = insert_before(last, "Reshape", [node.inputs[0], flat_shape], {}, f"{name}_flat")
    flat.shape = oir.Shape([None, inner])
    flat.type = last.outputs[0].type
    operands = [flat, matrix] if bias is None else [flat, matrix, bias]
    product = insert_before(last, "Gemm", operands, {}, f"{name}_linear")
    product.shape = oir.Shape([None, shape[-1]])
    product.type = last.outputs[0].type
    full_shape = add_constant(graph.model.graph, f"{name}_shape", np.array(shape, np.int64))
    replace_node(last, "Reshape", [product, full_shape], {})
    if add is not None:
        graph.model.graph.remove(node, safe=True)


form_linear = Rule("form_linear", ("MatMul",), _output_shape, _rewrite)
