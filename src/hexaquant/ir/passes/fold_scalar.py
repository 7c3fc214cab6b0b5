"""A factor behind a linear layer goes into its weights: (x W + b) * s -> x (s W) + s b.

Attention scales its queries (and keys, or scores) so. The factor may stand behind data movement, and behind a product
of two activations, whose left operand then takes it.

1. Mul or Div of a computed float32 value by a finite one-element constant of rank no larger than the value's.
2. Between it and the layer stand only Reshape, Transpose, Squeeze, Unsqueeze, Flatten, Slice and Add of a constant that
   nothing else reads (a bias: it takes the factor too), and at most one MatMul of two computed values; each is read by
   the next only.
3. The layer is Conv, ConvTranspose, Gemm (alpha and beta 1) or MatMul with a constant right operand; its weight and
   bias are constants that nothing else reads. Computed in float64.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import bypass, private_constant, set_constant, sole_consumer
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.match import is_op, scalar

MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice")


def fold_scalar(graph: Graph) -> int:
    """Returns the number of Mul and Div nodes folded."""
    changed = 0
    for node in graph.nodes:
        factor = _factor(node)
        source = _source(node)
        constants = _scaled_by(source) if factor is not None else None
        if factor is None or constants is None or source is None:
            continue
        for value in constants:
            data = constant(value)
            assert data is not None
            set_constant(value, (np.asarray(data, np.float64) * factor).astype(data.dtype))
        changed += bypass(graph, node, source)
    return changed


def _source(node: oir.Node) -> oir.Value | None:
    """The computed operand of a Mul, or the dividend."""
    if len(node.inputs) != 2:
        return None
    swapped = node.op_type == "Mul" and constant(node.inputs[0]) is not None
    return node.inputs[1 if swapped else 0]


def _factor(node: oir.Node) -> float | None:
    """Condition 1."""
    source = _source(node) if is_op(node, "Mul", "Div") else None
    if source is None or constant(source) is not None or source.dtype != oir.DataType.FLOAT or source.shape is None:
        return None
    other = node.inputs[0] if node.inputs[1] is source else node.inputs[1]
    number = scalar(other)
    data = constant(other)
    if number is None or data is None or data.ndim > len(source.shape) or node.outputs[0].is_graph_output():
        return None
    factor = number if node.op_type == "Mul" else (1.0 / number if number else np.inf)
    return float(factor) if np.isfinite(factor) and factor != 0 else None


def _scaled_by(value: oir.Value | None) -> list[oir.Value] | None:
    """The constants that must take the factor of ``value``; None where something stands in the way."""
    biases: list[oir.Value] = []
    products = 0
    while value is not None and sole_consumer(value) is not None:
        node = value.producer()
        if node is None or node.domain != "":
            return None
        if node.op_type in MOVES:
            value = node.inputs[0]
        elif node.op_type == "Add":
            bias = next((v for v in node.inputs if private_constant(v) is not None), None)
            if bias is None:
                return None
            biases.append(bias)
            value = node.inputs[0] if node.inputs[1] is bias else node.inputs[1]
        elif node.op_type == "MatMul" and constant(node.inputs[0]) is None and constant(node.inputs[1]) is None:
            products += 1
            if products > 1:
                return None
            value = node.inputs[0]
        else:
            weights = _weights(node)
            return None if weights is None else weights + biases
    return None


def _weights(node: oir.Node) -> list[oir.Value] | None:
    """Condition 3."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return None
    if any(node.attributes[k].as_float() != 1.0 for k in ("alpha", "beta") if k in node.attributes):
        return None
    given = [v for v in node.inputs[1:] if v is not None]
    if not given or any(private_constant(v) is None for v in given):
        return None
    return given
