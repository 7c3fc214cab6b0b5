"""Outputs that are joined of several tensors (boxes and scores of a detector), and how to take them apart.

On an integer grid a Concat has one scale for all its operands: scores of 0..0.1 beside boxes of 0..600 round to 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as oir

from hexaquant.ir.edit import int_attribute, ints_attribute, taken_names, unique_name
from hexaquant.ir.graph import Graph, constant, shape_of

MOVES = ("Transpose", "Identity")
"""What may stand between the Concat and the output."""


@dataclass(frozen=True)
class Slice:
    """A part of an output: ``start`` to ``stop`` along ``axis`` (negative: from the end), the operand ``name`` of
    ``concat``, which ``layer`` computes."""

    name: str
    layer: str
    concat: str
    axis: int
    start: int
    stop: int


def output_slices(graph: Graph) -> dict[str, tuple[Slice, ...]]:
    """The parts of each output that a Concat of computed tensors of known sizes makes; nothing for other outputs."""
    found = {}
    for value in graph.outputs:
        concat, moves = _concat_of(value)
        if concat is not None:
            found[value.name or ""] = tuple(_slices(graph, concat, moves))
    return {name: slices for name, slices in found.items() if len(slices) > 1}


def split_outputs(graph: Graph) -> list[str]:
    """Make the operands of each output's Concat outputs of their own, in their order, in ``graph`` itself.

    Operand i of output y is called y_i. 1. The Concat is read by that output alone; 2. no operand is a constant or an
    input of the graph; 3. each has one place in the list. Returns the names of the outputs that were split.
    """
    split = []
    outputs = list(graph.model.graph.outputs)
    for value in graph.outputs:
        concat, moves = _concat_of(value)
        if concat is None or not _may_be_split(concat, moves, value):
            continue
        taken = taken_names(graph.model.graph)
        parts = []
        for index, operand in enumerate(concat.inputs):
            assert operand is not None
            name = unique_name(f"{value.name}_{index}", taken)
            parts.append(_moved(graph, operand, [m for m in moves if m.op_type == "Transpose"], name))
        at = outputs.index(value)
        outputs[at : at + 1] = parts
        split.append(value.name or "")
        graph.model.graph.outputs[:] = outputs
        graph.model.graph.remove([*reversed(moves), concat], safe=True)
    return split


def _concat_of(value: oir.Value) -> tuple[oir.Node | None, list[oir.Node]]:
    """The Concat that makes ``value``, and the moves between them from the Concat on."""
    node = value.producer()
    moves: list[oir.Node] = []
    while node is not None and node.op_type in MOVES and node.inputs[0] is not None:
        moves.insert(0, node)
        node = node.inputs[0].producer()
    return (node if node is not None and node.op_type == "Concat" else None), moves


def _slices(graph: Graph, concat: oir.Node, moves: list[oir.Node]) -> Iterator[Slice]:
    rank = len(shape_of(concat.outputs[0]) or ())
    axis = int_attribute(concat, "axis", 0) % max(rank, 1)
    start = 0
    at = axis
    for node in moves:
        if node.op_type == "Transpose":
            at = (ints_attribute(node, "perm") or list(range(rank))[::-1]).index(at)
    for operand in concat.inputs:
        size = (shape_of(operand) or (None,) * rank)[axis] if operand is not None else None
        if operand is None or not isinstance(size, int):
            return
        maker = operand.producer()
        layer = "" if maker is None else str(graph.origin(maker))
        yield Slice(operand.name or "", layer, str(graph.origin(concat)), at - rank, start, start + size)
        start += size


def _may_be_split(concat: oir.Node, moves: list[oir.Node], value: oir.Value) -> bool:
    links = [concat.outputs[0], *(node.outputs[0] for node in moves)]
    alone = all(len(list(link.uses())) == (link is not value) for link in links)
    others = [v for v in links[:-1] if v.is_graph_output()]
    parts = list(concat.inputs)
    computed = all(v is not None and v.producer() is not None and constant(v) is None for v in parts)
    return alone and not others and computed and len({id(v) for v in parts}) == len(parts) > 1


def _moved(graph: Graph, operand: oir.Value, moves: list[oir.Node], name: str) -> oir.Value:
    """``operand`` through copies of ``moves``, called ``name`` unless it is an output already."""
    source = operand
    made = operand.producer()
    for node in moves:
        shape = shape_of(source)
        perm = ints_attribute(node, "perm") or list(range(len(shape or ())))[::-1]
        copy = oir.Node("", "Transpose", [source], [oir.AttrInt64s("perm", perm)], name=f"{name}_{node.name}")
        copy.metadata_props.update({} if made is None else made.metadata_props)
        source = copy.outputs[0]
        source.type = operand.type
        source.name = f"{name}_{node.name}_moved"
        source.shape = None if shape is None else oir.Shape([shape[i] for i in perm])
        graph.model.graph.append(copy)
    if not source.is_graph_output():
        source.name = name
    return source
