"""Fewer data movements around attention.

1. Reshape [b..., m, n] -> [B, m, n], Transpose (0, 2, 1), Reshape -> [b..., n, m], each read only by the next: one
   Transpose that swaps the last two dimensions (PyTorch's exporter writes the former for every attention).
2. Transpose of a Transpose that nothing else reads: one Transpose with the composed permutation.
"""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.ir.edit import ints_attribute, producer, replace_node, sole_consumer
from hexaquant.ir.graph import Graph
from hexaquant.ir.symbolic import dims_of


def merge_transposes(graph: Graph) -> int:
    """Returns the number of nodes rewritten."""
    changed = 0
    for node in graph.nodes:
        if node.domain != "" or not node.inputs:
            continue
        if node.op_type == "Reshape":
            changed += _swap_last_two(node)
        elif node.op_type == "Transpose":
            changed += _compose(node)
    return changed


def _swap_last_two(last: oir.Node) -> bool:
    middle = producer(last.inputs[0], "Transpose")
    first = producer(middle.inputs[0], "Reshape") if middle is not None else None
    if middle is None or first is None or ints_attribute(middle, "perm") != [0, 2, 1]:
        return False
    if sole_consumer(first.outputs[0]) is not middle or sole_consumer(middle.outputs[0]) is not last:
        return False
    source = first.inputs[0]
    before = dims_of(source)
    merged = dims_of(first.outputs[0])
    after = dims_of(last.outputs[0])
    if source is None or before is None or merged is None or after is None or len(before) != len(after):
        return False
    if len(before) < 3 or before[-2:] != merged[1:] or after != [*before[:-2], before[-1], before[-2]]:
        return False
    if "unknown__" in str(before):
        return False
    rank = len(before)
    replace_node(last, "Transpose", [source], {"perm": [*range(rank - 2), rank - 1, rank - 2]})
    return True


def _compose(second: oir.Node) -> bool:
    first = producer(second.inputs[0], "Transpose")
    if first is None or sole_consumer(first.outputs[0]) is not second:
        return False
    inner = ints_attribute(first, "perm")
    outer = ints_attribute(second, "perm")
    if not inner or len(inner) != len(outer):
        return False
    replace_node(second, "Transpose", [first.inputs[0]], {"perm": [inner[axis] for axis in outer]})
    return True
