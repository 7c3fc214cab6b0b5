"""Small edits of an onnx_ir graph that keep its names: constants, replacement of values, fusion of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from hexaquant.ir.graph import Graph


def taken_names(graph: oir.Graph) -> set[str]:
    """Names of all values of ``graph``."""
    names = {v.name for v in graph.inputs if v.name} | set(graph.initializers)
    for node in graph:
        names.update(v.name for v in node.outputs if v.name)
    return names


def unique_name(base: str, taken: set[str]) -> str:
    """``base``, or ``base_1``, ``base_2``, ... when it is taken."""
    name = base
    count = 0
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    return name


def add_constant(graph: oir.Graph, base: str, array: np.ndarray, taken: set[str] | None = None) -> oir.Value:
    """A new initializer holding ``array`` under a free name made of ``base``.

    ``taken``: the names to avoid where the caller knows them; collecting all names of a large graph takes a while.
    """
    name = unique_name(base, taken_names(graph) if taken is None else taken)
    tensor = oir.tensor(np.ascontiguousarray(array) if array.ndim else array, name=name)
    value = oir.Value(name=name, shape=oir.Shape(array.shape), type=oir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


COPY_OF = "hexaquant.copy_of"
"""Metadata key of an initializer that is the copy of another for one of its readers: the other's name."""


def copy_constant(value: oir.Value, node: oir.Node, index: int) -> oir.Value:
    """A copy of the initializer ``value`` that ``node`` reads as its input ``index`` from now on."""
    graph = node.graph
    assert isinstance(graph, oir.Graph) and value.const_value is not None
    copy = add_constant(graph, value.name or "constant", value.const_value.numpy())
    copy.metadata_props.update(value.metadata_props)
    copy.metadata_props.setdefault(COPY_OF, value.name or "")
    node.replace_input_with(index, copy)
    return copy


def set_constant(value: oir.Value, array: np.ndarray) -> None:
    """Give the initializer ``value`` new data (same name; dtype and shape follow the data)."""
    value.const_value = oir.tensor(np.ascontiguousarray(array) if array.ndim else array, name=value.name)
    value.shape = oir.Shape(array.shape)
    value.dtype = value.const_value.dtype


def sole_consumer(value: oir.Value | None) -> oir.Node | None:
    """The one node that reads ``value`` once; None if several do, none does, or it is a graph output."""
    if value is None or value.is_graph_output():
        return None
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 else None


def private_constant(value: oir.Value | None) -> np.ndarray | None:
    """Data of an initializer that only one node reads (so that it may be rewritten); None otherwise."""
    if value is None or value.const_value is None or sole_consumer(value) is None:
        return None
    return value.const_value.numpy()


def producer(value: oir.Value | None, op_type: str) -> oir.Node | None:
    """The node of type ``op_type`` (default domain) that computes ``value``, or None."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type and node.domain in ("", "ai.onnx") else None


def int_attribute(node: oir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def ints_attribute(node: oir.Node, name: str, default: Sequence[int] = ()) -> list[int]:
    attribute = node.attributes.get(name)
    return list(default) if attribute is None else list(attribute.as_ints())


def string_attribute(node: oir.Node, name: str, default: str) -> str:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def insert_before(
    node: oir.Node, op_type: str, inputs: Sequence[oir.Value | None], attributes: Mapping[str, Any], name: str
) -> oir.Value:
    """Insert ``op_type`` before ``node`` with the latter's origin; returns its output, called ``name``."""
    graph = node.graph
    assert isinstance(graph, oir.Graph)
    free = unique_name(name, taken_names(graph))
    new = oir.node(op_type, inputs, attributes, name=f"{free}_{op_type}")
    new.outputs[0].name = free
    new.metadata_props.update(node.metadata_props)
    graph.insert_before(node, new)
    return new.outputs[0]


def replace_node(
    node: oir.Node, op_type: str, inputs: Sequence[oir.Value | None], attributes: Mapping[str, Any]
) -> oir.Node:
    """Put ``op_type`` in the place of the single-output ``node``; output name, node name and origin are kept."""
    graph = node.graph
    assert isinstance(graph, oir.Graph)
    old = node.outputs[0]
    new = oir.node(op_type, inputs, attributes, name=node.name)
    new.metadata_props.update(node.metadata_props)
    new.outputs[0].name = old.name
    new.outputs[0].shape = old.shape
    new.outputs[0].type = old.type
    graph.insert_before(node, new)
    old.replace_all_uses_with(new.outputs[0], replace_graph_outputs=True)
    old.name = None
    graph.remove(node, safe=True)
    return new


def bypass(graph: Graph, node: oir.Node, source: oir.Value) -> bool:
    """Let the consumers of ``node``'s first output read ``source`` and remove the node.

    A graph output keeps its name: ``source`` takes it over when it is an inner value, otherwise nothing
    changes and False is returned (an Identity between an input or a parameter and an output must stay).
    """
    old = node.outputs[0]
    if old.is_graph_output():
        if source.producer() is None or source.is_graph_output():
            return False
        name = old.name
        old.replace_all_uses_with(source, replace_graph_outputs=True)
        old.name = None
        source.name = name
    else:
        old.replace_all_uses_with(source)
    if source.shape is None:
        source.shape = old.shape
    graph.model.graph.remove(node, safe=True)
    return True
