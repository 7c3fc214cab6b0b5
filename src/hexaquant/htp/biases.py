"""Give Conv, ConvTranspose and Gemm without a bias a bias of zeros.

The target's kernels add a bias in any case, so it costs nothing there; and bias correction has something to
correct. Legal when:

1. the operator has no bias input;
2. its weight is a constant (the number of output channels is known).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, int_attribute
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.rule import Rule


def _channels(node: oir.Node) -> int | None:
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        return None
    weight = constant(node.inputs[1])
    if weight is None or weight.dtype != np.float32:
        return None
    if node.op_type == "Conv":
        return int(weight.shape[0])
    if node.op_type == "ConvTranspose":
        return int(weight.shape[1]) * int_attribute(node, "group", 1)
    return int(weight.shape[0] if int_attribute(node, "transB", 0) else weight.shape[1])


def _add(graph: Graph, node: oir.Node, channels: int) -> None:
    weight = node.inputs[1]
    base = (weight.name or "weight").removesuffix(".weight") if weight is not None else "weight"
    bias = add_constant(graph.model.graph, f"{base}.bias", np.zeros(channels, np.float32))
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, bias)


add_missing_bias = Rule("add_missing_bias", ("Conv", "ConvTranspose", "Gemm"), _channels, _add)
