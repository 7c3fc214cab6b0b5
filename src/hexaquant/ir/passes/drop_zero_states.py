"""Drop initial states of LSTM, GRU and RNN that are all zeros (absent means zero).

1. The state is a constant of zeros, or an Expand, Slice, Unsqueeze, Reshape, Transpose, Concat or ConstantOfShape
   made of nothing but zeros, whatever its (possibly symbolic) shape.
2. Shape arithmetic that only served the state dies with it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.graph import Graph, constant

STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
MOVES = frozenset(
    [
        "Expand",
        "Slice",
        "Unsqueeze",
        "Squeeze",
        "Reshape",
        "Transpose",
        "Identity",
        "Cast",
        "Gather",
        "Tile",
    ]
)


def drop_zero_states(graph: Graph) -> int:
    """Returns the number of states dropped."""
    changed = 0
    for node in graph.nodes:
        if node.domain != "":
            continue
        for index in STATES.get(node.op_type, ()):
            if len(node.inputs) > index and node.inputs[index] is not None and is_zero(node.inputs[index]):
                node.replace_input_with(index, None)
                changed += 1
    return changed


def is_zero(value: oir.Value | None) -> bool:
    """Whether ``value`` is provably all zeros."""
    data = constant(value)
    if data is not None:
        return not np.any(data)
    node = value.producer() if value is not None else None
    if node is None or node.domain != "":
        return False
    if node.op_type == "ConstantOfShape":
        attribute = node.attributes.get("value")
        return attribute is None or not np.any(attribute.as_tensor().numpy())
    if node.op_type == "Concat":
        return all(is_zero(v) for v in node.inputs)
    return node.op_type in MOVES and is_zero(node.inputs[0])
