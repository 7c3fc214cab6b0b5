"""Replace calls of model-local functions by their bodies.

1. Always legal; names inside are prefixed by the call's. Recursive functions are invalid ONNX and refused.
"""

from __future__ import annotations

from onnx_ir.passes.common import InlinePass

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph


def inline_functions(graph: Graph) -> int:
    """Returns 1 when something was inlined. Raises InputError when the functions cannot be inlined."""
    if not graph.model.functions:
        return 0
    try:
        InlinePass()(graph.model)
    except Exception as error:
        raise InputError(
            f"{graph.source}: the model's functions cannot be inlined ({str(error).splitlines()[0]}); "
            "export the model again with its functions inlined"
        ) from error
    graph.model.functions.clear()
    return 1
