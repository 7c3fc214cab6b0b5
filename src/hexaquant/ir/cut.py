"""End a network at other tensors than its own outputs."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph


def end_at(graph: Graph, names: Sequence[str]) -> None:
    """Make the tensors ``names`` the outputs of ``graph``, in place; what only other outputs need is left unused.

    A tensor that a QuantizeLinear and a DequantizeLinear follow ends after them, under its own name: so it keeps its
    encoding. Raises InputError naming a tensor that does not exist or that nothing computes.
    """
    values = {value.name: value for value in graph.values()}
    chosen = []
    for name in names:
        value = values.get(name)
        if value is None or value.producer() is None:
            what = "computes no tensor" if value is None else "only passes on the tensor"
            raise InputError(
                f"{graph.source} {what} '{name}', so it cannot be an output; give the name of one it computes"
            )
        chosen.append(_quantized(value))
    graph.model.graph.outputs.clear()
    graph.model.graph.outputs.extend(chosen)


def _quantized(value: oir.Value) -> oir.Value:
    """``value`` after its quantize and dequantize nodes, renamed to it; itself where it has none."""
    quantizers = [node for node in value.consumers() if node.op_type == "QuantizeLinear" and node.inputs[0] is value]
    readers = [node for q in quantizers[:1] for node in q.outputs[0].consumers()]
    if not readers or readers[0].op_type != "DequantizeLinear":
        return value
    end = readers[0].outputs[0]
    name = value.name
    value.name, end.name = f"{name}_unquantized", name
    return end
