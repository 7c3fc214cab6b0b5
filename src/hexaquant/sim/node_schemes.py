"""The scheme in which each operator computes: the graph's, or what overrides make of it."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as oir

from hexaquant.core.grid import Grid
from hexaquant.htp import kernels
from hexaquant.htp.scheme import Scheme
from hexaquant.ir.graph import Graph, constant
from hexaquant.sim.activation_grids import ActivationPlanner
from hexaquant.sim.overrides import Overrides, Setting

PER_TENSOR = " per tensor"
"""Ending of the names of schemes with one weight scale a tensor; rows of the legality table have it too."""

BLOCKS = " in blocks"
"""Likewise for weights with one scale per block, which the table does not measure."""


def node_schemes(activations: ActivationPlanner) -> Mapping[str, str]:
    """Node name -> name of the scheme ("w8a16", "fp16", "w4a8 per tensor") in which the target shall compute it."""
    graph = activations.graph
    scheme = activations.scheme
    overrides = activations.overrides
    return {node.name or "": _scheme_name(node, graph, scheme, overrides, activations) for node in graph.nodes}


def _scheme_name(
    node: oir.Node, graph: Graph, scheme: Scheme, overrides: Overrides, activations: ActivationPlanner
) -> str:
    rule = kernels.rule_of(node.op_type)
    moves = rule is not None and rule.role == "move"
    grid = activations.grid_of_node(node) if moves else activations.wanted(node.outputs[0])
    if grid.is_float:
        return "fp16"
    weight = _weight(node)
    if weight is None:
        return _weightless(grid, scheme)
    origin = graph.origin(node)
    setting = overrides.find(weight.name or "", node.name or "", origin.module) or Setting()
    own = overrides.find(weight.name or "")
    bits = own.bits if own is not None and own.bits else (setting.scheme or scheme).weight_bits
    return f"w{bits}a{grid.bits}" + _layout(setting)


def _weight(node: oir.Node) -> oir.Value | None:
    index = kernels.WEIGHT_INPUTS.get(node.op_type)
    weight = node.inputs[index] if index is not None and index < len(node.inputs) else None
    return weight if constant(weight) is not None else None


def _weightless(grid: Grid, scheme: Scheme) -> str:
    """Without weights only the activations' type counts; symmetric ones of 16 bits are those of w16a16."""
    if grid.bits == scheme.act_bits and grid.symmetric == scheme.symmetric_activations and not scheme.is_float:
        return scheme.name
    if grid.bits == 16:
        return "w16a16" if grid.symmetric else "w8a16"
    return f"w8a{grid.bits}"


def _layout(setting: Setting) -> str:
    if setting.granularity == "tensor":
        return PER_TENSOR
    return BLOCKS if setting.granularity in ("block", "lpbq") else ""
