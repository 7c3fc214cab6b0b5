"""Bring a model to opset 21: old operators are adapted version by version, newer ones accepted when unchanged.

Operators of ``NEWER`` stay as they are, and a model that holds one says the opset that they need.
"""

from __future__ import annotations

import onnx.defs
import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.ir.opset_adapters import ADAPTERS

OPSET = 21
IR_VERSION = 10
NEWER: dict[str, int] = {"RMSNormalization": 23, "Attention": 23, "RotaryEmbedding": 23, "Swish": 24}
"""Operators above opset 21 that the executor knows, or that passes/expand_functions writes out, and their opset."""
MINOR = frozenset({"round_mode", "precision", "output_dtype", "saturate"})
"""Attributes of newer versions that say how float8 or a scale is rounded; nothing that is imported needs them."""


def convert_opset(model: oir.Model, source: str) -> bool:
    """Convert ``model`` in place to opset 21; True when something changed.

    7 to 20: every adapter of ``opset_adapters`` between the two versions runs on its operators. From 22 on the
    operators must exist in 21 with the attributes they use, for these versions only added types to them.
    Raises InputError naming the operator otherwise.
    """
    version = model.opset_imports.pop("ai.onnx", None) or model.opset_imports.get("", OPSET)
    if version > OPSET:
        _check_downgrade(model, source)
    for step in range(version + 1, OPSET + 1):
        for node in list(oir.traversal.RecursiveGraphIterator(model.graph)):
            adapter = ADAPTERS.get((node.op_type, step))
            if adapter is not None and node.domain in ("", "ai.onnx"):
                adapter(node)
    model.opset_imports[""] = OPSET
    state_opset(model)
    changed = version != model.opset_imports[""]
    model.ir_version = IR_VERSION
    for node in oir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain in ("", "ai.onnx"):
            node.version = None
            changed |= node.domain != ""
            node.domain = ""
    return changed


def state_opset(model: oir.Model) -> None:
    """Let ``model`` say the opset that its operators need: 21, or that of the newest among ``NEWER`` it holds."""
    needed = (NEWER[node.op_type] for node in model.graph if node.domain == "" and node.op_type in NEWER)
    model.opset_imports[""] = max(needed, default=OPSET)


def _check_downgrade(model: oir.Model, source: str) -> None:
    for node in oir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain not in ("", "ai.onnx") or node.op_type in NEWER or not onnx.defs.has(node.op_type):
            continue
        if not onnx.defs.has(node.op_type, max_inclusive_version=OPSET):
            raise InputError(
                f"{source}: operator {node.op_type} ('{node.name}') needs an opset above {OPSET}; "
                f"export the model with opset {OPSET}"
            )
        schema = onnx.defs.get_schema(node.op_type, max_inclusive_version=OPSET)
        for name in MINOR & set(node.attributes) - set(schema.attributes):
            node.attributes.pop(name)
        unknown = [name for name in node.attributes if name not in schema.attributes]
        if unknown:
            raise InputError(
                f"{source}: attribute '{unknown[0]}' of operator {node.op_type} ('{node.name}') needs an opset above "
                f"{OPSET}; export the model with opset {OPSET}"
            )
