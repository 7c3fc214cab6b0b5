"""Explicit converts where neighbours compute in different types.

The target's kernels take operands of one activation type. Where a tensor of another type arrives, an Identity
node marked ``hexaquant.convert`` is put on the edge; its output has its own entry in the plan, so that the
conversion is simulated, exported (as DequantizeLinear -> QuantizeLinear) and proven like everything else.

Legal for: integer -> integer of another width, float -> integer. Integer -> float needs no node: the reader
takes the dequantized tensor.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as oir

from hexaquant.core.grid import Grid
from hexaquant.ir.graph import Graph, constant
from hexaquant.targets import ops

CONVERT = "hexaquant.convert"


def insert_converts(
    graph: Graph, grid_of_node: Callable[[oir.Node], Grid], input_grid: Callable[[oir.Value], Grid]
) -> int:
    """Put convert nodes into ``graph`` (in place); returns how many."""
    made: dict[tuple[str, str], oir.Value] = {}
    for node in graph.nodes:
        rule = ops.rule_of(node.op_type)
        if rule is None or rule.role != "compute" or CONVERT in node.metadata_props:
            continue
        wanted = grid_of_node(node)
        if wanted.is_float:
            continue
        for index, value in enumerate(node.inputs):
            if value is None or constant(value) is not None or not _is_float(value):
                continue
            if _same_type(input_grid(value), wanted):
                continue
            key = (value.name or "", str(wanted))
            if key not in made:
                made[key] = _convert(graph, value, wanted, node)
            node.replace_input_with(index, made[key])
    return len(made)


def _same_type(a: Grid, b: Grid) -> bool:
    return a.bits == b.bits and a.is_float == b.is_float


def _is_float(value: oir.Value) -> bool:
    return value.dtype is None or value.dtype in (oir.DataType.FLOAT, oir.DataType.FLOAT16)


def _convert(graph: Graph, value: oir.Value, grid: Grid, before: oir.Node) -> oir.Value:
    kind = "symmetric" if grid.symmetric else "asymmetric"
    name = f"{value.name}_as_uint{grid.bits}"
    node = oir.Node("", "Identity", [value], name=f"{name}_convert", metadata_props={CONVERT: f"{kind}:{grid.bits}"})
    output = node.outputs[0]
    output.name, output.type, output.shape = name, value.type, value.shape
    graph.model.graph.insert_before(before, node)
    return output
