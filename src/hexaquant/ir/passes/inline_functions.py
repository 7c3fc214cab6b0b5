"""Replace calls of model-local functions by their bodies.

1. Always legal; names inside are prefixed by the call's. Recursive functions are invalid ONNX and refused.
"""

from __future__ import annotations

import onnx_ir as oir
from onnx_ir.passes.common import InlinePass

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph

GROWTH = 20
AT_LEAST = 2000
"""Inlining may make so many times the operators of the file, and so many in any case."""


def _require_moderate(graph: Graph) -> None:
    """Raise InputError when the functions unfold to unreasonably many operators: a chain of them doubles each time."""
    functions = graph.model.functions
    bodies = {key: [node.op_identifier() for node in body] for key, body in functions.items()}
    written = len(list(graph.model.graph)) + sum(map(len, bodies.values()))
    sizes: dict[oir.OperatorIdentifier, int] = {}
    for _ in range(len(bodies) + 1):  # as many rounds as the deepest chain; recursion grows beyond every bound
        before = dict(sizes)
        sizes = {key: min(sum(before.get(call, 1) for call in calls), 1 << 62) for key, calls in bodies.items()}
        if sizes == before:
            break
    total = sum(sizes.get(node.op_identifier(), 1) for node in graph.model.graph)
    if total > max(GROWTH * written, AT_LEAST):
        raise InputError(
            f"{graph.source}: the model's functions unfold from {written} to {total:,} operators, too many to be "
            "meant; export the model again with its functions inlined"
        )


def inline_functions(graph: Graph) -> int:
    """Returns 1 when something was inlined. Raises InputError when the functions cannot be inlined."""
    if not graph.model.functions:
        return 0
    _require_moderate(graph)
    try:
        InlinePass()(graph.model)
    except Exception as error:
        raise InputError(
            f"{graph.source}: the model's functions cannot be inlined ({str(error).splitlines()[0]}); "
            "export the model again with its functions inlined"
        ) from error
    graph.model.functions.clear()
    return 1
