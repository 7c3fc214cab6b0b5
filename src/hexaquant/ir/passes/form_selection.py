"""GatherND with constant indices becomes a Reshape (it takes everything in order) or a Gather of the flat tensor.

transformers' attention masks are read that way, with indices over the batch; the target has no GatherND of booleans.

1. The indices are constant and address single elements of a tensor of known shape; batch_dims is 0.
2. Behind a Cast that nothing else reads, the integers are reshaped instead of the booleans.
"""

from __future__ import annotations

import math

import numpy as np

from hexaquant.ir.edit import add_constant, insert_before, int_attribute, producer, replace_node, sole_consumer
from hexaquant.ir.graph import Graph, constant, shape_of


def form_selection(graph: Graph) -> int:
    """Returns the number of GatherND replaced."""
    changed = 0
    for node in graph.nodes:
        source, indices = (node.inputs[0], constant(node.inputs[1])) if node.op_type == "GatherND" else (None, None)
        dims = shape_of(source) if source is not None else None
        if source is None or indices is None or dims is None or int_attribute(node, "batch_dims", 0):
            continue
        sizes = [dim for dim in dims if isinstance(dim, int)]
        if len(sizes) != len(dims) or indices.shape[-1] != len(sizes):
            continue
        places = _flat(indices, sizes)
        name, inner = node.outputs[0].name or "selected", graph.model.graph
        if np.array_equal(places.reshape(-1), np.arange(math.prod(sizes))):
            target = add_constant(inner, f"{name}_shape", np.array(indices.shape[:-1], np.int64))
            cast = producer(source, "Cast")
            if cast is None or sole_consumer(source) is not node:
                replace_node(node, "Reshape", [source, target], {})
            else:
                shaped = insert_before(node, "Reshape", [cast.inputs[0], target], {}, f"{name}_reshaped")
                first = cast.inputs[0]
                assert first is not None
                shaped.type = first.type
                replace_node(node, "Cast", [shaped], {"to": int_attribute(cast, "to", 1)})
        else:
            flat = insert_before(
                node, "Reshape", [source, add_constant(inner, f"{name}_flat", np.array([-1]))], {}, f"{name}_all"
            )
            flat.type = source.type
            replace_node(node, "Gather", [flat, add_constant(inner, f"{name}_places", places)], {"axis": 0})
        changed += 1
    return changed


def _flat(indices: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Positions in the flat tensor."""
    strides = np.array([math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))], np.int64)
    positive = np.where(indices < 0, indices + np.array(sizes), indices)
    return np.asarray((positive * strides).sum(-1), np.int64)
