"""Where each ONNX value is computed in an executed graph."""

from __future__ import annotations

from torch import fx


def value_nodes(module: fx.GraphModule, tapped: bool = True) -> dict[str, fx.Node]:
    """The fx node of each value by its ONNX name, in order of execution.

    With ``tapped`` a value is what its consumers see; without, what its operator produced before the tap.
    Values that were inlined as Python numbers have no node.
    """
    nodes: dict[str, fx.Node] = {}
    for node in module.graph.nodes:
        name = node.meta.get("value")
        if not tapped:
            name = node.meta.get("untapped", name)
        if name is not None:
            nodes.setdefault(name, node)
    return nodes
