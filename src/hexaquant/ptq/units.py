"""The layers among which mixed precision chooses: each operator that computes, with what is fused into it.

A unit writes one tensor on the target (through a fused activation, and through operators that only move data), may have
a weight, and reads the tensors of other units. Its costs are for one sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import onnx_ir as oir

from hexaquant.htp import kernels
from hexaquant.ir.edit import int_attribute
from hexaquant.ir.graph import Graph, shape_of
from hexaquant.sim.plan import QuantPlan


@dataclass(frozen=True)
class Unit:
    """``nodes``: names by which overrides reach it (of an input: the tensor's); ``tensors``: what is quantized in it
    beside the weight: outputs; ``weight``: name of the weight, if any; ``reads``: indices of the units it reads.

    ``parameters``: elements of the weight; ``macs``: multiply-accumulates; ``elements``: of its output.
    """

    name: str
    layer: str
    op_type: str
    nodes: tuple[str, ...]
    tensors: tuple[str, ...]
    weight: str | None
    reads: tuple[int, ...]
    parameters: int
    macs: int
    elements: int


def find_units(graph: Graph, plan: QuantPlan) -> list[Unit]:
    """Inputs first, then layers in order. ``plan``: any plan of ``graph`` without overrides."""
    units: list[Unit] = []
    owner: dict[str, int] = {}
    for value in graph.inputs:
        name = value.name or ""
        if plan[name].grid is None:
            continue
        owner[name] = len(units)
        units.append(Unit(name, f"input '{name}'", "", (name,), (name,), None, (), 0, 0, _elements(value)))
    fused = set(plan.bypass)
    for node in graph.nodes:
        rule = kernels.rule_of(node.op_type)
        output = node.outputs[0].name or ""
        reads = [owner[v.name or ""] for v in node.inputs if v is not None and (v.name or "") in owner]
        if rule is None or rule.role == "logic":
            continue
        if rule.role == "move" and reads:
            owner |= {v.name or "": reads[0] for v in node.outputs}
        elif node.name in fused and reads:
            units[reads[0]] = _with_activation(units[reads[0]], node)
            owner[output] = reads[0]
        elif rule.role == "compute":
            owner |= {v.name or "": len(units) for v in node.outputs}
            units.append(_unit(graph, node, tuple(dict.fromkeys(reads))))
    return units


def _unit(graph: Graph, node: oir.Node, reads: tuple[int, ...]) -> Unit:
    index = kernels.WEIGHT_INPUTS.get(node.op_type)
    weight = node.inputs[index] if index is not None else None
    if weight is not None and not weight.is_initializer():
        weight = None
    outputs = tuple(v.name or "" for v in node.outputs if v.name)
    return Unit(
        outputs[0],
        str(graph.origin(node)),
        node.op_type,
        (node.name or "",),
        outputs,
        None if weight is None else weight.name,
        reads,
        0 if weight is None else _elements(weight),
        macs(node),
        sum(_elements(v) for v in node.outputs),
    )


def _with_activation(unit: Unit, node: oir.Node) -> Unit:
    written = tuple(v.name or "" for v in node.outputs)
    return replace(unit, nodes=(*unit.nodes, node.name or ""), tensors=(*unit.tensors, *written))


def macs(node: oir.Node) -> int:
    """Multiply-accumulates of ``node`` for one sample; 0 for operators without a product of matrices."""
    shapes = [() if v is None else _dims(v) for v in node.inputs]
    out = math.prod(_dims(node.outputs[0]))
    if node.op_type == "Conv":
        return out * math.prod(shapes[1][1:])
    if node.op_type == "ConvTranspose":
        return math.prod(shapes[0]) * math.prod(shapes[1][1:])
    if node.op_type == "Gemm":
        return out * shapes[0][0 if int_attribute(node, "transA", 0) else -1]
    if node.op_type == "MatMul" and shapes[0]:
        return out * shapes[0][-1]
    return 0


def _elements(value: oir.Value) -> int:
    return math.prod(_dims(value))


def _dims(value: oir.Value) -> tuple[int, ...]:
    """Shape with 1 for what is not static (the batch)."""
    return tuple(d if isinstance(d, int) else 1 for d in shape_of(value) or ())
