"""Refuse operators that break ONNX's own rules: attributes of a wrong type, missing ones, too few or too many inputs.

The rules are the schemas of the ``onnx`` package for the file's opset (default domain). Later code relies on them.
"""

from __future__ import annotations

import onnx
import onnx_ir as oir

from hexaquant.core.errors import InputError

DAMAGED = "the file is damaged, export the model again"


def check_operators(model: oir.Model, opset: int, source: str) -> None:
    """Raise InputError naming the first operator of ``model`` (``source`` in messages) that breaks its schema."""
    for node in oir.traversal.RecursiveGraphIterator(model.graph):
        schema = _schema(node, opset)
        if schema is not None:
            _check_attributes(node, schema, source)
            _check_counts(node, schema, source)


def _schema(node: oir.Node, opset: int) -> onnx.defs.OpSchema | None:
    """None for operators that onnx does not know: importers refuse them by name or translate them."""
    if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type):
        return None
    try:
        return onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError:
        return None


def _check_attributes(node: oir.Node, schema: onnx.defs.OpSchema, source: str) -> None:
    who = f"{source}: operator {node.op_type} ('{node.name}')"
    for name, attribute in node.attributes.items():
        rule = schema.attributes.get(name)
        if isinstance(attribute, oir.Attr) and attribute.is_ref():
            continue
        if rule is not None and attribute.type.name != str(rule.type).rpartition(".")[2]:
            raise InputError(f"{who} has attribute '{name}' of type {attribute.type.name}; {DAMAGED}")
    for name, rule in schema.attributes.items():
        if rule.required and name not in node.attributes:
            raise InputError(f"{who} lacks its attribute '{name}'; {DAMAGED}")


def _check_counts(node: oir.Node, schema: onnx.defs.OpSchema, source: str) -> None:
    who = f"{source}: operator {node.op_type} ('{node.name}')"
    count = len(node.inputs)
    if not schema.min_input <= count <= schema.max_input:
        raise InputError(f"{who} has {count} inputs, not {schema.min_input} to {schema.max_input}; {DAMAGED}")
    if not schema.min_output <= len(node.outputs) <= schema.max_output:
        raise InputError(f"{who} has {len(node.outputs)} outputs; {DAMAGED}")
    for position, value in enumerate(node.inputs[: len(schema.inputs)]):
        if value is None and schema.inputs[position].option == onnx.defs.OpSchema.FormalParameterOption.Single:
            raise InputError(f"{who} lacks its input '{schema.inputs[position].name}'; {DAMAGED}")
