"""Which tensor of the QDQ ONNX each lowered tensor stands for.

Rules by which the execution provider names things (found by experiment with release 2.7.0):

0. names lose every character that is no letter, digit or ``_`` (safe_names.py makes them so beforehand);
1. a graph input, output or initializer keeps its name (quantized initializers: the integer tensor's);
2. an operator keeps its node's name, or gets ``_token_N`` appended when the layout pass made an NHWC copy of it;
   a fused activation disappears into the operator before it;
3. the output of an operator carries the name of the QuantizeLinear's output; next to a Transpose that the layout
   pass inserted it may carry that *node's* name instead, or ``<node>_token_N_outK``;
4. operators that only the lowering has (Transpose, Convert, Reshape) have made-up names.

So a tensor is mapped by its name first (1, 3), then by the operator that writes it (2), then across operators
that only move data.
"""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.qnn.log_text import without_token
from hexaquant.qnn.records import GraphRecord, OpInfo
from hexaquant.qnn.safe_names import safe_name

MOVES = ("Transpose", "Reshape", "ExpandDims", "Squeeze")
"""Lowered operators that may be added and hand on their input's values and encoding."""

_FUSED = ("Relu", "Clip", "Identity")


def map_names(model: oir.Model, graph: GraphRecord) -> dict[str, str]:
    """Lowered tensor name -> name in ``model``; tensors that the lowering added are absent."""
    by_name = _tensor_names(model)
    by_node = _unit_outputs(model)
    names: dict[str, str] = {}
    for tensor in graph.tensors:
        found = by_name.get(tensor.name)
        if found is not None:
            names[tensor.name] = found
    for op in graph.ops:
        for index, output in enumerate(op.outputs):
            stored = by_node.get((without_token(op.name), index))
            if stored is not None:
                names.setdefault(output, stored)
    _carry_over_moves(graph.ops, names)
    return names


def _tensor_names(model: oir.Model) -> dict[str, str]:
    """Every value's name to itself, and every QuantizeLinear node's name to the value it writes."""
    names = {v.name: v.name for v in model.graph.initializers.values() if v.name}
    names |= {v.name: v.name for v in model.graph.inputs if v.name}
    for node in model.graph:
        names |= {v.name: v.name for v in node.outputs if v.name}
        if node.op_type == "QuantizeLinear" and node.name and node.outputs[0].name:
            names[safe_name(node.name)] = node.outputs[0].name
    return names


def _unit_outputs(model: oir.Model) -> dict[tuple[str, int], str]:
    """(node name, output index) -> the quantized tensor written through fused activations, or the float one."""
    found: dict[tuple[str, int], str] = {}
    for node in model.graph:
        for index, value in enumerate(node.outputs):
            name = _stored_name(value)
            if node.name and name:
                found[(safe_name(node.name), index)] = name
    return found


def _stored_name(value: oir.Value) -> str | None:
    users = [node for node, _ in value.uses()]
    quantizer = next((node for node in users if node.op_type == "QuantizeLinear"), None)
    if quantizer is not None:
        return quantizer.outputs[0].name
    if len(users) == 1 and users[0].op_type in _FUSED:
        return _stored_name(users[0].outputs[0])
    return value.name


def _carry_over_moves(ops: tuple[OpInfo, ...], names: dict[str, str]) -> None:
    """Hand names across moves, forwards and then backwards, until nothing changes."""
    moves = [op for op in ops if op.type in MOVES and op.inputs and op.outputs]
    changed = True
    while changed:
        changed = False
        for op in moves:
            source = op.inputs[0]
            target = op.outputs[0]
            for known, new in ((source, target), (target, source)):
                if known in names and new not in names:
                    names[new] = names[known]
                    changed = True
