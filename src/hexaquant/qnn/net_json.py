"""A lowered graph as the ``*_net.json`` of Qualcomm's converters: tensors by name, nodes by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hexaquant.qnn.describe import DTYPES, ENCODING_NAMES, KINDS
from hexaquant.qnn.records import GraphRecord, OpInfo, QuantInfo, TensorInfo

_KIND_CODES = {name: code for code, name in KINDS.items()}
_DTYPE_CODES = {name: code for code, name in DTYPES.items()}
_ENCODING_CODES = {name: code for code, name in ENCODING_NAMES.items()}
_UNDEFINED = 0x7FFFFFFF
"""QNN_DEFINITION_UNDEFINED."""


def net_document(graph: GraphRecord, names: Mapping[str, str], command: str) -> dict[str, Any]:
    """``names``: lowered tensor -> source tensor, which becomes ``src_name`` (empty: the lowering added it).

    Types are QNN's codes (``type``: 0 input, 1 output, 3 between operators, 4 constant; ``data_type``: 1032 = uint8
    with an encoding ...) with their names beside them.
    """
    tensors = {
        tensor.name: {"id": index, **_tensor(tensor), "src_name": names.get(tensor.name, "")}
        for index, tensor in enumerate(graph.tensors)
    }
    parameters = sum(math.prod(t.shape) for t in graph.tensors if t.kind == "static")
    return {
        "converter_command": command,
        "Total parameters": parameters,
        "op_types": sorted({op.type for op in graph.ops}),
        "graph": {"name": graph.name, "tensors": tensors, "nodes": {op.name: _node(op) for op in graph.ops}},
    }


def _tensor(tensor: TensorInfo) -> dict[str, Any]:
    return {
        "type": _KIND_CODES.get(tensor.kind, tensor.kind),
        "type_name": tensor.kind,
        "data_type": _DTYPE_CODES.get(tensor.dtype, tensor.dtype),
        "data_type_name": tensor.dtype,
        "dims": list(tensor.shape),
        "quant_params": _quant(tensor.quant),
    }


def _quant(quant: QuantInfo | None) -> dict[str, Any]:
    """x = (q + offset) * scale, one entry, or one for each index along ``axis``."""
    if quant is None:
        return {"definition": _UNDEFINED, "encoding": _UNDEFINED}
    pairs = [{"scale": scale, "offset": offset} for scale, offset in zip(quant.scales, quant.offsets, strict=True)]
    document: dict[str, Any] = {
        "definition": 1,
        "encoding": _ENCODING_CODES[quant.kind],
        "encoding_name": quant.kind,
    }
    if quant.bits is not None:
        document["bitwidth"] = quant.bits
    if quant.axis is None:
        return document | ({"scale_offset": pairs[0]} if len(pairs) == 1 else {"block_scale_offsets": pairs})
    document["axis_scale_offset"] = {"axis": quant.axis, "num_scale_offsets": len(pairs), "scale_offsets": pairs}
    if quant.block_scales is not None:
        document["block_scales"] = list(quant.block_scales)
    return document


def _node(op: OpInfo) -> dict[str, Any]:
    return {
        "package": "qti.aisw",
        "type": op.type,
        "params": op.params,
        "input_names": list(op.inputs),
        "output_names": list(op.outputs),
    }
