"""Refuse, before any calibration, what the target will refuse at the very end."""

from __future__ import annotations

import difflib

import onnx_ir as oir

from hexaquant.core.errors import InputError, TargetError
from hexaquant.ir.graph import Graph, shape_of
from hexaquant.targets import ops
from hexaquant.targets.soc import Target


def check_graph(graph: Graph, target: Target) -> None:
    """Raise TargetError naming every refused operator with its layer and the remedy, InputError for bad shapes."""
    problems = [problem for node in graph.nodes for problem in problems_of(graph, node)]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise TargetError(f"{target.name} refuses this network: " + "; ".join(problems[:3]) + more)


def problems_of(graph: Graph, node: oir.Node) -> list[str]:
    """Why the target refuses ``node``, with the remedy; empty when it takes it. Raises InputError for empty shapes."""
    origin = graph.origin(node)
    if ops.rule_of(node.op_type) is None:
        return [f"{origin} uses {node.op_type}: {_remedy(node.op_type)}"]
    problems = []
    for value in node.outputs:
        shape = shape_of(value)
        if shape is None:
            continue
        if len(shape) > ops.MAX_RANK:
            problems.append(f"{origin} ({node.op_type}) has rank {len(shape)}, more than {ops.MAX_RANK}: merge axes")
        if 0 in shape:
            raise InputError(f"tensor '{value.name}' of {origin} has a dimension of size zero: {list(shape)}")
    return problems


def _remedy(op_type: str) -> str:
    if op_type in ops.REFUSED:
        return ops.REFUSED[op_type]
    close = difflib.get_close_matches(op_type, ops.OPS, 1)
    hint = f" (close: {close[0]})" if close else ""
    return f"no such operator on the target{hint}; replace it, or move it out of the network"
