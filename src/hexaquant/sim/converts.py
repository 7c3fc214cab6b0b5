"""Explicit converts where neighbours compute in different types.

The target's kernels take operands of one activation type. Where a tensor of another type arrives, an Identity
node marked ``hexaquant.convert`` is put on the edge; its output has its own entry in the plan, so that the
conversion is simulated, exported (as DequantizeLinear -> QuantizeLinear) and proven like everything else.

Legal for: integer -> integer of another width, float -> integer. Integer -> float needs no node: the reader
takes the dequantized tensor. Readers of one tensor that want the same type share one convert; the second operand of
a 16-bit product is symmetric (sim/einsum_products.py), so it gets its own; also where both have 16 bits, when the
operand comes from a kernel whose own encoding of [0, 1) is asymmetric (Softmax, Sigmoid).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import onnx_ir as oir

from hexaquant.core.grid import FLOAT16, Grid, PerTensor
from hexaquant.htp import kernels
from hexaquant.ir.edit import taken_names, unique_name
from hexaquant.ir.graph import CONVERT, ORIGIN_MODULE, Graph, constant


def only_moves(node: oir.Node | None) -> bool:
    """True for data movement: what it gives has the integers of its input 0. Converts are no movement."""
    rule = None if node is None else kernels.rule_of(node.op_type)
    return rule is not None and rule.role == "move" and node is not None and CONVERT not in node.metadata_props


def convert_grid(node: oir.Node | None) -> Grid | None:
    """The grid that the convert node ``node`` converts to, None for other nodes.

    Its metadata says "symmetric:16", "asymmetric:8", ... or "float16".
    """
    text = None if node is None else node.metadata_props.get(CONVERT)
    if text is None:
        return None
    if text == "float16":
        return FLOAT16
    kind, _, bits = text.partition(":")
    return Grid(int(bits), False, kind == "symmetric", PerTensor())


def insert_converts(
    graph: Graph, grid_of_node: Callable[[oir.Node], Grid], input_grid: Callable[[oir.Value], Grid]
) -> int:
    """Put convert nodes into ``graph`` (in place); returns how many."""
    made: dict[tuple[str, int, bool], oir.Value] = {}
    for node in graph.nodes:
        rule = kernels.rule_of(node.op_type)
        if rule is None or rule.role != "compute" or CONVERT in node.metadata_props:
            continue
        wanted = grid_of_node(node)
        if wanted.is_float:
            continue
        for index, value in enumerate(node.inputs):
            if value is None or constant(value) is not None or not _is_float(value):
                continue
            second = is_second_operand(node, index, wanted)
            if _same_type(input_grid(value), wanted) and not (second and _is_unsigned(value)):
                continue
            grid = replace(wanted, symmetric=wanted.symmetric or second)
            key = (value.name or "", grid.bits, grid.symmetric)
            if key not in made:
                made[key] = _convert(graph, value, grid, node)
            node.replace_input_with(index, made[key])
    return len(made)


def is_second_operand(node: oir.Node, index: int, grid: Grid) -> bool:
    """True for the right operand of a 16-bit product of two computed tensors."""
    computed = all(constant(value) is None for value in node.inputs)
    return node.op_type in ("MatMul", "Einsum") and grid.bits == 16 and index == len(node.inputs) - 1 and computed


def _is_unsigned(value: oir.Value) -> bool:
    """Whether ``value`` is, moved or not, the output of an operator with a fixed range from 0 on."""
    node = value.producer()
    rule = None if node is None else kernels.rule_of(node.op_type)
    if node is None or rule is None or CONVERT in node.metadata_props:
        return False
    if only_moves(node) and node.inputs[0] is not None:
        return _is_unsigned(node.inputs[0])
    return rule.low == 0


def _same_type(a: Grid, b: Grid) -> bool:
    return a.bits == b.bits and a.is_float == b.is_float


def _is_float(value: oir.Value) -> bool:
    return value.dtype is None or value.dtype in (oir.DataType.FLOAT, oir.DataType.FLOAT16)


def _convert(graph: Graph, value: oir.Value, grid: Grid, before: oir.Node) -> oir.Value:
    kind = "symmetric" if grid.symmetric else "asymmetric"
    name = unique_name(f"{value.name}_as_uint{grid.bits}", taken_names(graph.model.graph))
    layer = graph.origin(before).module or before.name or ""
    metadata = {**before.metadata_props, ORIGIN_MODULE: layer, CONVERT: f"{kind}:{grid.bits}"}
    node = oir.Node("", "Identity", [value], name=f"{name}_convert", metadata_props=metadata)
    output = node.outputs[0]
    output.name = name
    output.type = value.type
    output.shape = value.shape
    graph.model.graph.insert_before(before, node)
    return output
