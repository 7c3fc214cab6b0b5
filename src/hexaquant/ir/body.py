"""Writes the body of a function in the place of the node that calls it: operators with shapes, names and origin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, taken_names, unique_name
from hexaquant.ir.graph import ORIGIN_MODULE
from hexaquant.ir.infer_shapes import infer_node
from hexaquant.ir.symbolic import Contents


class Body:
    """Inserts operators before ``node``; what they compute gets its type and shape by inference.

    Names are made of the node's first output. ``finish`` hands the node's outputs over to the body's.
    """

    def __init__(self, node: oir.Node) -> None:
        graph = node.graph
        assert isinstance(graph, oir.Graph)
        self.node = node
        self._graph = graph
        self._base = node.outputs[0].name or node.op_type.lower()
        self._taken = taken_names(graph)
        self._contents = Contents()

    def input(self, index: int) -> oir.Value | None:
        """Input ``index`` of the node; None when it is absent."""
        return self.node.inputs[index] if len(self.node.inputs) > index else None

    def constant(self, array: Any, dtype: type = np.float32) -> oir.Value:
        """A new initializer."""
        value = add_constant(self._graph, f"{self._base}_const", np.asarray(array, dtype), self._taken)
        self._taken.add(value.name or "")
        return value

    def ints(self, *numbers: int) -> oir.Value:
        """A vector of int64."""
        return self.constant(numbers, np.int64)

    def op(self, op_type: str, *inputs: oir.Value | None, **attributes: Any) -> oir.Value:
        """The output of a new operator."""
        return self.ops(op_type, inputs, 1, **attributes)[0]

    def ops(self, op_type: str, inputs: Sequence[oir.Value | None], count: int, **attributes: Any) -> list[oir.Value]:
        """The ``count`` outputs of a new operator."""
        new = oir.node(op_type, inputs, attributes, num_outputs=count)
        for value in new.outputs:
            value.name = self._free(f"{self._base}_{op_type.lower()}")
        new.name = new.outputs[0].name
        new.metadata_props.update(self.node.metadata_props)
        new.metadata_props.setdefault(ORIGIN_MODULE, self.node.name or self._base)
        self._graph.insert_before(self.node, new)
        infer_node(new, self._contents)
        self._contents.evaluate(new)
        return list(new.outputs)

    def finish(self, *results: oir.Value | None) -> None:
        """Let ``results`` take over the names and the readers of the node's outputs, and remove the node."""
        for old, new in zip(self.node.outputs, results):
            if new is None or not (old.uses() or old.is_graph_output()):
                continue
            if new.producer() is None or new.producer() is self.node or new.is_graph_output():
                new = self.op("Identity", new)
            name = old.name
            old.name = None
            shape = old.shape
            kind = old.type
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            new.name = name
            new.shape = new.shape or shape
            new.type = new.type or kind
        self._graph.remove(self.node, safe=True)

    def _free(self, name: str) -> str:
        name = unique_name(name, self._taken)
        self._taken.add(name)
        return name


def static_dim(value: oir.Value | None, axis: int) -> int | None:
    """Dimension ``axis`` of ``value`` where it is a number."""
    if value is None or value.shape is None or not -len(value.shape) <= axis < len(value.shape):
        return None
    dim = value.shape[axis]
    return dim if isinstance(dim, int) else None


def rank_of(value: oir.Value | None) -> int | None:
    """Number of dimensions of ``value``; None when it is unknown."""
    return None if value is None or value.shape is None else len(value.shape)
