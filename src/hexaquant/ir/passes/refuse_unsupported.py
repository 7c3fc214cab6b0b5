"""Refuse, naming the layer, what no later stage can handle.

1. Control flow that is left (If with a computed condition, Loop, Scan), sequences, optionals and strings.
2. A value with a dimension of size 0 (an empty tensor) among the graph's outputs.
"""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph

CONTROL_FLOW = {"If", "Loop", "Scan"}
PREFIXES = (
    "Sequence",
    "Optional",
    "SplitToSequence",
    "ConcatFromSequence",
    "String",
    "Tfidf",
    "Regex",
)


def holds_unsupported(graph: Graph) -> bool:
    """Whether control flow, a sequence, an optional or a string is left."""
    return any(_is_control_flow(node) or _is_no_tensor(node) for node in graph.nodes)


def refuse_unsupported(graph: Graph) -> int:
    """Returns 0. Raises InputError for the first unsupported construct."""
    for node in graph.nodes:
        if _is_control_flow(node):
            raise InputError(
                f"{graph.source}: {graph.origin(node)} is an {node.op_type} that depends on data; if an input that "
                "never changes (a flag, a sample rate) decides it, give that with --input NAME=VALUE (Python: "
                "fixed=); else export the model without data-dependent control flow"
            )
        if _is_no_tensor(node):
            raise InputError(
                f"{graph.source}: {graph.origin(node)} ({node.op_type}) works on sequences, optionals or strings, "
                "which are not supported; export the model with plain tensors"
            )
    for value in graph.outputs:
        if value.shape is not None and any(d == 0 for d in value.shape if isinstance(d, int)):
            raise InputError(f"{graph.source}: output '{value.name}' is empty (shape {list(value.shape)})")
    return 0


def _is_control_flow(node: oir.Node) -> bool:
    return node.domain == "" and node.op_type in CONTROL_FLOW


def _is_no_tensor(node: oir.Node) -> bool:
    tensors = all(v.type is None or isinstance(v.type, oir.TensorType) for v in node.outputs)
    return node.domain == "" and (node.op_type.startswith(PREFIXES) or not tensors)
