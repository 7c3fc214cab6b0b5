"""Take what has a value out of the inputs: constants that are also listed as inputs, and operands that are empty.

1. A graph input with an initializer is a default that nobody gives (IR version 3 required them to be listed there).
2. ``roi``, ``scales`` and ``sizes`` of a Resize that are constants without elements are absent, as the operator says
   (opset 11 had no other way to leave them out); so is any ``roi`` unless the mode is tf_crop_and_resize.
"""

from __future__ import annotations

from hexaquant.ir.edit import string_attribute
from hexaquant.ir.graph import Graph, constant


def drop_constant_inputs(graph: Graph) -> int:
    """Condition 1. Returns the number of inputs dropped."""
    inner = graph.model.graph
    listed = [value for value in inner.inputs if value.name in inner.initializers]
    for value in listed:
        inner.inputs.remove(value)
    return len(listed)


def drop_empty_operands(graph: Graph) -> int:
    """Condition 2, in opset 11 or later. Returns the number of operands dropped."""
    changed = 0
    for node in graph.nodes:
        if node.op_type != "Resize" or node.domain != "":
            continue
        crops = string_attribute(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
        for index, value in enumerate(node.inputs[1:], start=1):
            data = constant(value)
            unused = index == 1 and not crops
            if value is not None and (unused or (data is not None and data.size == 0)):
                node.replace_input_with(index, None)
                changed += 1
    return changed
