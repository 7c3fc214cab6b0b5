"""A Conv without a bias where PyTorch's exporter writes zeros of another shape than (output channels,).

Conv3d without a bias comes with zeros of shape (output channels, 2), which no reader of ONNX takes for one. Legal when

1. the bias is a constant of zeros that has not one dimension;
2. nothing else depends on its shape: the operator is Conv.
"""

from __future__ import annotations

from hexaquant.ir.graph import Graph, constant


def drop_zero_biases(graph: Graph) -> int:
    """Returns the number of biases removed."""
    changed = 0
    for node in graph.nodes:
        bias = constant(node.inputs[2]) if node.op_type == "Conv" and len(node.inputs) > 2 else None
        if node.domain == "" and bias is not None and bias.ndim != 1 and not bias.any():
            node.resize_inputs(2)
            changed += 1
    return changed
