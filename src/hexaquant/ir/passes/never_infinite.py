"""IsInf and IsNaN are false: a tensor on an integer grid holds numbers only, and float16 tensors of the target are
read by nobody who could tell. What asks (nan_to_num, guards of masked attention) goes with them.

1. IsInf and IsNaN become a constant False, one element, which broadcasts.
2. And with a constant False is False, Or with it is the other operand, Where takes the third one, if the shapes fit.
3. Cast of a bool to bool, and Cast to double that only IsInf or IsNaN reads, go with what read them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, bypass
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.symbolic import dims_of


def never_infinite(graph: Graph) -> int:
    """Returns the number of nodes removed or simplified."""
    changed = 0
    for node in graph.nodes:
        if node.domain != "" or not node.outputs:
            continue
        if node.op_type in ("IsInf", "IsNaN"):
            changed += _false(graph, node)
        elif node.op_type in ("And", "Or"):
            changed += _logic(graph, node)
        elif node.op_type == "Where":
            changed += _choice(graph, node)
    return changed


def _false(graph: Graph, node: oir.Node) -> bool:
    dims = dims_of(node.inputs[0])
    if dims is None or node.outputs[0].is_graph_output():
        return False
    if any(use.node.op_type not in ("And", "Or", "Not", "Where", "Cast", "Xor") for use in node.outputs[0].uses()):
        return False
    return _replace(graph, node, np.zeros([1] * len(dims), np.bool_))


def _replace(graph: Graph, node: oir.Node, array: np.ndarray) -> bool:
    node.outputs[0].replace_all_uses_with(add_constant(graph.model.graph, f"{node.outputs[0].name}_never", array))
    graph.model.graph.remove(node, safe=True)
    return True


def _logic(graph: Graph, node: oir.Node) -> bool:
    if node.outputs[0].is_graph_output():
        return False
    for index in (0, 1):
        data = constant(node.inputs[index])
        other = node.inputs[1 - index]
        if data is None or other is None or data.any() or constant(other) is not None or other.shape is None:
            continue
        if data.size != 1 or data.ndim > len(other.shape):
            continue
        if node.op_type == "Or":
            return bypass(graph, node, other)
        return _replace(graph, node, np.zeros([1] * len(other.shape), np.bool_))
    return False


def _choice(graph: Graph, node: oir.Node) -> bool:
    """Where of a condition that is one number is one of its operands, if that has the shape of the result."""
    condition = constant(node.inputs[0])
    if condition is None or condition.size != 1:
        return False
    taken = node.inputs[1 if bool(condition.reshape(-1)[0]) else 2]
    fits = taken is not None and dims_of(taken) is not None and dims_of(taken) == dims_of(node.outputs[0])
    return fits and taken is not None and constant(taken) is None and bypass(graph, node, taken)
