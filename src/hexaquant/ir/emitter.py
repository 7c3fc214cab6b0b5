"""Writes many operators in the place of one node, with names, shapes and origin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir
import sympy

from hexaquant.ir.edit import add_constant, taken_names, unique_name
from hexaquant.ir.graph import constant
from hexaquant.ir.infer_shapes import infer_node
from hexaquant.ir.symbolic import Contents, dims_of

Dim = int | str | None

FREE_BATCH = sympy.Symbol("free_batch", integer=True, positive=True)
"""Stands for a first dimension of 1, so that what is written for one sample holds for several."""


def free_dims(value: oir.Value) -> list[sympy.Expr] | None:
    """The dimensions of ``value``; the first one is FREE_BATCH where it is the 1 of a computed tensor."""
    dims = dims_of(value)
    if dims and dims[0] == 1 and constant(value) is None:
        return [FREE_BATCH, *dims[1:]]
    return dims


class Emitter:
    """Inserts operators before ``node``. Its values have the node's origin and element type, and free names."""

    def __init__(self, node: oir.Node) -> None:
        graph = node.graph
        first = node.inputs[0]
        assert isinstance(graph, oir.Graph) and first is not None
        self._node, self._graph, self._type = node, graph, first.type or oir.TensorType(oir.DataType.FLOAT)
        self._taken = taken_names(graph) | {other.name or "" for other in graph}
        self._made: set[oir.Node] = set()

    def constant(self, name: str, array: np.ndarray) -> oir.Value:
        """A new initializer."""
        value = add_constant(self._graph, name, array, self._taken)
        self._taken.add(value.name or "")
        return value

    def op(
        self,
        op_type: str,
        inputs: Sequence[oir.Value | None],
        name: str,
        shape: Sequence[Dim] | None = None,
        **attributes: Any,
    ) -> oir.Value:
        """The output of a new operator; its shape (and then its type too) is inferred where none is given."""
        if shape is None:
            return self.inferred(op_type, inputs, [name], **attributes)[0]
        return self.ops(op_type, inputs, [name], [shape], **attributes)[0]

    def inferred(
        self,
        op_type: str,
        inputs: Sequence[oir.Value | None],
        names: Sequence[str],
        domain: str = "",
        **attributes: Any,
    ) -> list[oir.Value]:
        """The outputs of a new operator, with inferred types and shapes."""
        new = oir.node(op_type, inputs, attributes, domain=domain, num_outputs=len(names))
        for value, name in zip(new.outputs, names, strict=True):
            value.name = self._free(name)
        self._insert(new)
        infer_node(new, Contents())
        return list(new.outputs)

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
        self._insert(new)
        return list(new.outputs)

    def _insert(self, new: oir.Node) -> None:
        new.name = self._free(f"{new.outputs[0].name}_{new.op_type}")
        new.metadata_props.update(self._node.metadata_props)
        self._graph.insert_before(self._node, new)
        self._made.add(new)

    def reshape(self, source: oir.Value, target: Sequence[int], name: str, shape: Sequence[Dim]) -> oir.Value:
        """``source`` in ``shape``, which ``target`` writes with a -1 for the dimension that may be symbolic."""
        return self.op("Reshape", [source, self.constant(f"{name}_shape", np.array(target, np.int64))], name, shape)

    def reshaped(self, source: oir.Value, dims: Sequence[sympy.Expr], name: str) -> oir.Value:
        """``source`` in the shape ``dims``, of which one at most is no number (beside a first one that stays).

        ``source`` itself where it has that shape.
        """
        before = free_dims(source)
        if before == list(dims):
            return source
        target = [int(d) if d.is_Integer else -1 for d in dims]
        if before and dims and before[0] == dims[0]:
            target[0] = 0
        shape = self.constant(f"{name}_shape", np.array(target, np.int64))
        return self.op("Reshape", [source, shape], name)

    def transposed(self, source: oir.Value, perm: Sequence[int], name: str) -> oir.Value:
        """``source`` with its axes in the order ``perm``; itself where that is the order they have."""
        if list(perm) == sorted(perm):
            return source
        return self.op("Transpose", [source], name, perm=list(perm))

    def split(self, source: oir.Value, sizes: Sequence[int], names: Sequence[str], batch: Dim) -> list[oir.Value]:
        """Parts of ``sizes`` columns of a (batch, n) matrix."""
        part_sizes = self.constant(f"{source.name}_split", np.array(sizes, np.int64))
        return self.ops("Split", [source, part_sizes], names, [(batch, n) for n in sizes], axis=1)

    def linear(self, x: oir.Value, weight: oir.Value, bias: oir.Value | None, name: str) -> oir.Value:
        """x @ weight.T + bias for x (batch, k), weight (n, k), bias (n,); computed here when x is a constant."""
        data = constant(x)
        w = constant(weight)
        b = constant(bias)
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

    def finish(self, new: oir.Value) -> None:
        """Put ``new`` in the place of the node's first output and remove the node; names stay the user's."""
        name = self._node.name
        if new.producer() not in self._made:
            new = self.op("Identity", [new], f"{self._node.outputs[0].name}_same")
        self.replace_output(self._node.outputs[0], new)
        self._graph.remove(self._node, safe=True)
        producer = new.producer()
        assert producer is not None
        producer.name = name

    def remove_node(self) -> None:
        """Remove the node in whose place the operators were written."""
        self._graph.remove(self._node, safe=True)

    def _free(self, name: str) -> str:
        name = unique_name(name, self._taken)
        self._taken.add(name)
        return name
