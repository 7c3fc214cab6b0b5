"""Give computed float constants the names of the parameters they came from.

1. A constant computed from one parameter that no longer exists takes its name ("fc.weight", transposed); if several
   constants came from it they become ``name.0``, ``name.1``, ... in graph order.
2. A constant computed from several parameters that no longer exist is called after the first, with ``.merged``.
3. A constant computed from parameters that also live on (tied weights) is called after the first, with ``.folded``.
4. An unnamed bias of a layer whose weight is called ``X.weight`` becomes ``X.bias`` when that is free.
5. Initializers that were in the user's model keep their names.
"""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.ir.edit import taken_names, unique_name
from hexaquant.ir.graph import Graph

SOURCES = "hexaquant.sources"
"""Key in ``Value.meta``: tuple of names of the user's parameters a constant was computed from."""


def mark_parameters(graph: Graph) -> int:
    """Record that the initializers present now are the user's own. Returns 0."""
    for name, value in graph.initializers.items():
        value.meta[SOURCES] = (name,)
    return 0


def name_parameters(graph: Graph) -> int:
    """Returns the number of constants renamed."""
    inner = graph.model.graph
    claims: dict[tuple[str, ...], list[oir.Value]] = {}
    for value in _in_order(graph):
        sources = value.meta.get(SOURCES, ())
        if sources and sources != (value.name,):
            claims.setdefault(tuple(sources), []).append(value)
    changed = 0
    for sources, values in claims.items():
        base = sources[0] if len(sources) == 1 else f"{sources[0]}.merged"
        base = f"{sources[0]}.folded" if any(s in inner.initializers for s in sources) else base
        for index, value in enumerate(values):
            changed += _rename(graph, value, base if len(values) == 1 else f"{base}.{index}")
    return changed + _name_biases(graph)


def _in_order(graph: Graph) -> list[oir.Value]:
    found: dict[oir.Value, None] = {}
    for node in graph.nodes:
        for value in node.inputs:
            if value is not None and value.is_initializer() and _is_float(value):
                found.setdefault(value)
    return list(found)


def _is_float(value: oir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()


def _name_biases(graph: Graph) -> int:
    changed = 0
    for node in graph.nodes:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or len(node.inputs) < 3:
            continue
        weight = node.inputs[1]
        bias = node.inputs[2]
        if weight is None or bias is None or not bias.is_initializer() or SOURCES in bias.meta:
            continue
        if weight.name and weight.name.endswith(".weight"):
            changed += _rename(graph, bias, weight.name.removesuffix("weight") + "bias")
    return changed


def _rename(graph: Graph, value: oir.Value, name: str) -> int:
    if value.name == name or len(list(value.uses())) == 0:
        return 0
    taken = taken_names(graph.model.graph)
    value.name = unique_name(name, taken)
    if value.const_value is not None:
        value.const_value.name = value.name
    value.meta[SOURCES] = (value.name,)
    return 1
