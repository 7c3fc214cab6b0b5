"""Content hash of a graph: equal for graphs that compute the same in the same words."""

from __future__ import annotations

import hashlib

import onnx_ir as oir

from hexaquant.ir.graph import Graph


def fingerprint(graph: Graph) -> str:
    """SHA-256 (hex) over inputs, outputs, constants with their data, and nodes with their attributes, in order."""
    whole = hashlib.sha256()
    for value in (*graph.inputs, *graph.outputs):
        whole.update(oir.to_proto(value).SerializeToString(deterministic=True))
    for name, value in sorted(graph.initializers.items()):
        tensor = value.const_value
        whole.update(f"{name}:{value.dtype}:{value.shape}".encode())
        whole.update(b"" if tensor is None else tensor.tobytes())
    for node in graph.nodes:
        whole.update(oir.to_proto(node).SerializeToString(deterministic=True))
    return whole.hexdigest()
