"""Writes many operators in the place of one node, with names, shapes and origin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import taken_names, unique_name
from hexaquant.ir.graph import constant

Dim = int | str | None


class Emitter:
    """Inserts operators before ``node``. Its values have the node's origin and element type, and free names."""

    def __init__(self, node: oir.Node) -> None:
        graph, first = node.graph, node.inputs[0]
        assert isinstance(graph, oir.Graph) and first is not None
        self._node, self._graph, self._type = node, graph, first.type or oir.TensorType(oir.DataType.FLOAT)
        self._taken = taken_names(graph) | {other.name or "" for other in graph}

    def constant(self, name: str, array: np.ndarray) -> oir.Value:
        """A new initializer."""
        name = self._free(name)
        tensor = oir.tensor(np.ascontiguousarray(array), name=name)
        value = oir.Value(
            name=name, shape=oir.Shape(array.shape), type=oir.TensorType(tensor.dtype), const_value=tensor
        )
        self._graph.register_initializer(value)
        return value

    def op(
        self, op_type: str, inputs: Sequence[oir.Value | None], name: str, shape: Sequence[Dim], **attributes: Any
    ) -> oir.Value:
        """The output, of the given shape, of a new operator."""
        return self.ops(op_type, inputs, [name], [shape], **attributes)[0]

    def ops(
        self,
        op_type: str,
        inputs: Sequence[oir.Value | None],
        names: Sequence[str],
        shapes: Sequence[Sequence[Dim]],
        **attributes: Any,
    ) -> list[oir.Value]:
        """The outputs of a new operator that has several."""
        new = oir.node(op_type, inputs, attributes, num_outputs=len(names))
        for value, name, shape in zip(new.outputs, names, shapes, strict=True):
            value.name, value.shape, value.type = self._free(name), oir.Shape(shape), self._type
        new.name = self._free(f"{new.outputs[0].name}_{op_type}")
        new.metadata_props.update(self._node.metadata_props)
        self._graph.insert_before(self._node, new)
        return list(new.outputs)

    def reshape(self, source: oir.Value, target: Sequence[int], name: str, shape: Sequence[Dim]) -> oir.Value:
        """``source`` in ``shape``, which ``target`` writes with a -1 for the dimension that may be symbolic."""
        return self.op("Reshape", [source, self.constant(f"{name}_shape", np.array(target, np.int64))], name, shape)

    def split(self, source: oir.Value, sizes: Sequence[int], names: Sequence[str], batch: Dim) -> list[oir.Value]:
        """Parts of ``sizes`` columns of a (batch, n) matrix."""
        part_sizes = self.constant(f"{source.name}_split", np.array(sizes, np.int64))
        return self.ops("Split", [source, part_sizes], names, [(batch, n) for n in sizes], axis=1)

    def linear(self, x: oir.Value, weight: oir.Value, bias: oir.Value | None, name: str) -> oir.Value:
        """x @ weight.T + bias for x (batch, k), weight (n, k), bias (n,); computed here when x is a constant."""
        data, w, b = constant(x), constant(weight), constant(bias)
        assert w is not None and x.shape is not None
        if data is not None:
            return self.constant(name, (data @ w.T + (0 if b is None else b)).astype(data.dtype))
        operands = [x, weight] if bias is None else [x, weight, bias]
        return self.op("Gemm", operands, name, (x.shape[0], w.shape[0]), transB=1)  # type: ignore[arg-type]

    def replace_output(self, old: oir.Value, new: oir.Value) -> None:
        """Let ``new`` take over the name and the readers of ``old``."""
        name = old.name
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        old.name = None
        new.name = name

    def remove_node(self) -> None:
        """Remove the node in whose place the operators were written."""
        self._graph.remove(self._node, safe=True)

    def _free(self, name: str) -> str:
        name = unique_name(name, self._taken)
        self._taken.add(name)
        return name
