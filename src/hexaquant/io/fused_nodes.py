"""Drop activations whose clipping their output's encoding already does (Conv + Relu on the target).

1. The node's first input is computed by another node, which only this node reads, and is not a graph output.
2. The node is removed; the producer's output takes over the name of the node's output.
3. Constants that only the removed nodes read (Clip's bounds) go too.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as oir

from hexaquant.core.errors import EncodingError
from hexaquant.ir.graph import Graph


def drop_fused(graph: Graph, names: Collection[str]) -> None:
    """Remove the nodes called ``names`` from ``graph`` in place.

    Raises EncodingError when there is no such node or condition 1 does not hold.
    """
    nodes = {n.name: n for n in graph.nodes}
    for name in names:
        if name not in nodes:
            raise EncodingError(f"{graph.source} has no node '{name}' to fuse; plan the same graph that is exported")
        _drop(graph, nodes[name])


def _drop(graph: Graph, node: oir.Node) -> None:
    source, output = node.inputs[0], node.outputs[0]
    if source is None or source.producer() is None or source.is_graph_output() or len(source.uses()) != 1:
        raise EncodingError(f"{graph.origin(node)} cannot be fused: other nodes or the user also see its input")
    name, shape, constants = output.name, output.shape, [v for v in node.inputs[1:] if v is not None]
    output.replace_all_uses_with(source, replace_graph_outputs=True)
    graph.model.graph.remove(node, safe=True)
    output.name = None
    source.name = name
    source.shape = source.shape or shape
    for value in constants:
        if value.is_initializer() and not value.uses() and not value.is_graph_output() and value.name:
            graph.model.graph.initializers.pop(value.name)
