"""A matrix cut into squares along a fifth axis is reshaped in two steps.

    Reshape (x (..., F), [A, B, C, F, F])   ->   Reshape (x, [1, ABCFF]), Reshape (..., [A, B, C, F, F])

Right after a fully connected layer of F outputs the target computes the one step wrongly in every integer type (its
values leave in another order: 0.5 dB, whatever the architecture, release 2.7.0); through a flat row they are right.
Reshapes cost nothing. Legal when:

1. the input has two or three dimensions, and its last one is F;
2. the shape that is asked for is a constant of five sizes, none of them copied (0), of which the last two are F.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, insert_before
from hexaquant.ir.graph import Graph, constant, shape_of


def split_reshape(graph: Graph) -> int:
    """Returns the number of reshapes split."""
    changed = 0
    for node in graph.nodes:
        if node.op_type == "Reshape" and _qualifies(node):
            _split(graph, node)
            changed += 1
    return changed


def _wanted(node: oir.Node) -> list[int]:
    sizes = constant(node.inputs[1])
    return [] if sizes is None else [int(size) for size in sizes.reshape(-1)]


def _qualifies(node: oir.Node) -> bool:
    source = None if node.inputs[0] is None else shape_of(node.inputs[0])
    wanted = _wanted(node)
    if source is None or len(source) not in (2, 3) or len(wanted) != 5:
        return False
    return 0 not in wanted and wanted[3] == wanted[4] == source[-1]


def _split(graph: Graph, node: oir.Node) -> None:
    source, output = node.inputs[0], node.outputs[0]
    assert source is not None
    name = f"{output.name or 'reshape'}_row"
    shape = add_constant(graph.model.graph, f"{name}_shape", np.array([1, -1], np.int64))
    row = insert_before(node, "Reshape", [source, shape], {}, name)
    row.shape, row.type = oir.Shape([1, _size(source)]), source.type
    node.replace_input_with(0, row)


def _size(value: oir.Value) -> int | None:
    dims = [dim for dim in shape_of(value) or () if isinstance(dim, int)]
    return math.prod(dims) if len(dims) == len(shape_of(value) or ()) else None
