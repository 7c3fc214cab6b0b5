"""What holds of every graph after import and after every pass (ir/graph.py); checked once after import, and in tests
after each pass."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as oir

from hexaquant.core.errors import HexaquantError
from hexaquant.ir.graph import Graph


def require_invariants(graph: Graph, after: str) -> None:
    """Raise HexaquantError (our bug) naming the first invariant that does not hold ``after`` a step."""
    problem = next(broken_invariants(graph), None)
    if problem is not None:
        raise HexaquantError(f"{graph.source} after {after}: {problem}; this is a bug of hexaquant, please report it")


def broken_invariants(graph: Graph) -> Iterator[str]:
    """In words, what does not hold:

    1. no initializer is a graph input, and each stands under its own name;
    2. every value that is read or returned has a name, and no two values have the same;
    3. every node reads only what a node before it computes, a graph input or an initializer of the graph (order, SSA);
    4. every node has a name of its own;
    5. every float tensor that is known to be one has a type, and constants have the type of their data.
    """
    inner = graph.model.graph
    yield from _initializers(inner)
    known: dict[int, str] = {id(value): value.name or "" for value in (*inner.inputs, *inner.initializers.values())}
    names = set(known.values())
    nodes: set[str | None] = set()
    for node in inner:
        yield from _inputs(node, known)
        for value in node.outputs:
            yield from _output(value, node, names)
            known[id(value)] = value.name or ""
            names.add(value.name or "")
        if not node.name or node.name in nodes:
            yield (
                f"two nodes are called '{node.name}' ({node.op_type})" if node.name else f"a {node.op_type} has no name"
            )
        nodes.add(node.name)
    for value in inner.outputs:
        if id(value) not in known:
            yield f"the graph output '{value.name}' is computed by nothing"


def _initializers(graph: oir.Graph) -> Iterator[str]:
    inputs = {value.name for value in graph.inputs}
    for name, value in graph.initializers.items():
        if name != value.name or value.const_value is None:
            yield f"the constant '{value.name}' stands under the name '{name}' or has no data"
        elif name in inputs:
            yield f"the constant '{name}' is a graph input, too"
        elif value.dtype is not None and value.dtype != value.const_value.dtype:
            yield f"the constant '{name}' says {value.dtype} and holds {value.const_value.dtype}"


def _inputs(node: oir.Node, known: dict[int, str]) -> Iterator[str]:
    for value in node.inputs:
        if value is not None and id(value) not in known:
            yield f"'{node.name}' ({node.op_type}) reads '{value.name}' before it is computed"


def _output(value: oir.Value, node: oir.Node, names: set[str]) -> Iterator[str]:
    if not value.name and (value.uses() or value.is_graph_output()):
        yield f"an output of '{node.name}' ({node.op_type}) has no name"
    elif value.name and value.name in names:
        yield f"two tensors are called '{value.name}'"
