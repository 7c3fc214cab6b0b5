"""Turn Constant nodes into initializers.

1. The node's output is not a graph output (there an Identity of the new initializer keeps the output's name).
2. The constant is a dense numeric tensor; sparse and string constants are refused.
"""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.ir.edit import taken_names, unique_name
from hexaquant.ir.graph import Graph


def lift_constants(graph: Graph) -> int:
    """Returns the number of Constant nodes lifted. Raises InputError for sparse or string constants."""
    changed = 0
    inner = graph.model.graph
    taken = taken_names(inner)
    for node in graph.nodes:
        if node.op_type != "Constant" or node.domain != "":
            continue
        tensor = _tensor(graph, node)
        value = node.outputs[0]
        name = value.name or unique_name("constant", taken)
        value.name = None
        if value.is_graph_output():
            name = unique_name(f"{name}_value", taken)
        taken.add(name)
        array = oir.tensor(tensor.numpy(), name=name, dtype=tensor.dtype)
        shape = oir.Shape(tensor.numpy().shape)
        lifted = oir.Value(name=name, shape=shape, type=oir.TensorType(array.dtype), const_value=array)
        inner.register_initializer(lifted)
        if value.is_graph_output():
            _keep_output(inner, node, lifted, name.removesuffix("_value"))
        else:
            value.replace_all_uses_with(lifted)
        inner.remove(node, safe=True)
        changed += 1
    return changed


def _keep_output(inner: oir.Graph, node: oir.Node, lifted: oir.Value, name: str) -> None:
    identity = oir.node("Identity", [lifted], name=node.name)
    identity.outputs[0].name = name
    identity.outputs[0].shape = lifted.shape
    identity.outputs[0].type = lifted.type
    inner.insert_before(node, identity)
    node.outputs[0].replace_all_uses_with(identity.outputs[0], replace_graph_outputs=True)


def _tensor(graph: Graph, node: oir.Node) -> oir.TensorProtocol:
    name, attribute = next(iter(node.attributes.items()), ("", None))
    if attribute is not None and name == "value" and attribute.type == oir.AttributeType.TENSOR:
        return attribute.as_tensor()
    if attribute is not None and name in ("value_int", "value_ints"):
        return oir.tensor(attribute.value, dtype=oir.DataType.INT64)
    if attribute is not None and name in ("value_float", "value_floats"):
        return oir.tensor(attribute.value, dtype=oir.DataType.FLOAT)
    raise InputError(f"{graph.source}: constant '{node.outputs[0].name}' is sparse or text, which is not supported")
