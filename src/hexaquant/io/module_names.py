"""Names of legacy aimet_torch encodings: ``conv1.output[0]`` is the first output of module ``conv1``."""

from __future__ import annotations

import re

from hexaquant.ir.graph import Graph

_PORT = re.compile(r"(?P<module>.+)\.(?P<side>input|output)\[(?P<index>\d+)\]")


def tensor_of_port(name: str, graph: Graph) -> str | None:
    """The tensor at a module's port, or None when ``name`` is not a port or the graph has no such module.

    A module is found by the origin of its nodes or, failing that, by a node of its name.
    """
    match = _PORT.fullmatch(name)
    if match is None:
        return None
    module = match["module"]
    nodes = [n for n in graph.nodes if module in (graph.origin(n).module, n.name)]
    if not nodes:
        return None
    if match["side"] == "output":
        ports = nodes[-1].outputs
    else:
        ports = tuple(v for v in nodes[0].inputs if v is not None and not v.is_initializer())
    index = int(match["index"])
    return ports[index].name if index < len(ports) else None
