"""FLOAT16, BFLOAT16 and DOUBLE become FLOAT, everywhere in the graph; inputs and outputs remember what they were.

The target's scheme decides in which type a layer computes, not the file; a float32 network is the one truth that
quantization starts from. Numbers of float64 beyond float32 become infinite (see clamp_masks).

1. Constants, the types of values, and the attributes that name a type or hold a tensor.
2. A Cast between two of these types is then a Cast of a type to itself (see eliminate_identity).
3. Types of the inputs of quantization (scales) too; integers, booleans and float8 stay.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.graph import Graph

WAS = "hexaquant.type"
"""Metadata key of an input or output of the network whose type was another one: its name (FLOAT16 ...)."""
TYPES = frozenset({oir.DataType.FLOAT16, oir.DataType.BFLOAT16, oir.DataType.DOUBLE})
NAMING = {"Cast": "to"}
"""Operators whose attribute names a type under another name than ``dtype``, ``output_dtype``, ``stash_type``."""


def to_float32(graph: Graph) -> int:
    """Returns the number of values, constants and attributes changed."""
    inner = graph.model.graph
    for value in {*inner.inputs, *inner.outputs}:
        if value.dtype in TYPES:
            value.metadata_props[WAS] = value.dtype.name
    return _convert(inner)


def _convert(graph: oir.Graph) -> int:
    values = [*graph.inputs, *graph.initializers.values()]
    changed = 0
    for node in graph:
        values += node.outputs
        changed += _convert_attributes(node)
    return changed + sum(_convert_value(value) for value in dict.fromkeys(values))


def _convert_value(value: oir.Value) -> int:
    tensor = value.const_value
    if tensor is not None and tensor.dtype in TYPES:
        value.const_value = _float32(tensor)
        value.type = _in_float32(value.type)
        return 1
    if value.dtype not in TYPES:
        return 0
    value.type = _in_float32(value.type)
    return 1


def _in_float32(kind: oir.TypeProtocol | None) -> oir.TypeProtocol:
    """A new type: clones of a graph share theirs."""
    if isinstance(kind, (oir.SequenceType, oir.OptionalType)):
        return type(kind)(_in_float32(kind.elem_type), denotation=kind.denotation)
    return oir.TensorType(oir.DataType.FLOAT)


def _convert_attributes(node: oir.Node) -> int:
    changed = 0
    for name, attribute in list(node.attributes.items()):
        if attribute.is_ref():
            continue
        if attribute.type == oir.AttributeType.GRAPH:
            changed += _convert(attribute.as_graph())
        elif attribute.type == oir.AttributeType.TENSOR and attribute.as_tensor().dtype in TYPES:
            node.attributes[name] = oir.AttrTensor(name, _float32(attribute.as_tensor()))
            changed += 1
        elif name in ("dtype", "output_dtype", NAMING.get(node.op_type)) and attribute.as_int() in TYPES:
            node.attributes[name] = oir.AttrInt64(name, int(oir.DataType.FLOAT))
            changed += 1
    return changed


def _float32(tensor: oir.TensorProtocol) -> oir.TensorProtocol:
    with np.errstate(over="ignore"):
        array = tensor.numpy().astype(np.float32)
    return oir.tensor(array, name=tensor.name)
