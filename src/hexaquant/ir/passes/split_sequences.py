"""SplitToSequence whose parts are taken by constant positions -> Split.

1. Every consumer is a SequenceAt with a constant index; the sequence is not a graph output; keepdims is 1.
2. The split is a constant (sizes, or one part size) and the length of the axis is known, or sizes are given as a list.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, int_attribute, unique_name
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.match import is_op


def split_sequences(graph: Graph) -> int:
    """Returns the number of SplitToSequence nodes replaced."""
    changed = 0
    for node in graph.nodes:
        if node.op_type != "SplitToSequence" or node.domain != "" or node.outputs[0].is_graph_output():
            continue
        sizes = _sizes(node)
        readers = [use.node for use in node.outputs[0].uses()]
        if sizes is None or not all(is_op(r, "SequenceAt") and constant(r.inputs[1]) is not None for r in readers):
            continue
        _replace(graph, node, readers, sizes)
        changed += 1
    return changed


def _sizes(node: oir.Node) -> list[int] | None:
    """Length of each part along the axis."""
    split = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if split is None or int_attribute(node, "keepdims", 1) != 1:
        return None
    if split.ndim == 1:
        return [int(s) for s in split]
    source = node.inputs[0]
    length = source.shape[int_attribute(node, "axis", 0)] if source is not None and source.shape is not None else None
    size = int(split)
    if not isinstance(length, int) or size < 1:
        return None
    return [min(size, length - start) for start in range(0, length, size)]


def _replace(graph: Graph, node: oir.Node, readers: list[oir.Node], sizes: list[int]) -> None:
    inner = graph.model.graph
    base = node.outputs[0].name or "split"
    lengths = add_constant(inner, f"{base}_sizes", np.array(sizes, np.int64))
    axis = int_attribute(node, "axis", 0)
    split = oir.node("Split", [node.inputs[0], lengths], {"axis": axis}, num_outputs=len(sizes), name=node.name)
    split.metadata_props.update(node.metadata_props)
    names: set[str] = set()
    for position, value in enumerate(split.outputs):
        value.name = unique_name(f"{base}_{position}", names)
    inner.insert_before(node, split)
    for reader in readers:
        index = int(constant(reader.inputs[1]).reshape(-1)[0])  # type: ignore[union-attr]
        old = reader.outputs[0]
        new = split.outputs[index]
        name = old.name
        first = not list(new.uses()) and not new.is_graph_output()
        new.type = old.type or new.type
        new.shape = old.shape or new.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        old.name = None
        if first:
            new.name = name
        inner.remove(reader, safe=True)
    inner.remove(node, safe=True)
