"""``qnn-context-binary-utility``: metadata of a context binary as JSON, with the keys of the original's."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexaquant.cli.tools.program import Messages, Program, flag

if TYPE_CHECKING:
    from hexaquant.qnn.records import BinaryInfo, GraphRecord, QuantInfo, TensorInfo

PROGRAM = Program(
    name="qnn-context-binary-utility",
    summary="Write what a context binary says about itself: graphs, inputs, outputs, types, encodings, SoC, versions.",
    flags=(
        flag("--context_binary", metavar="BIN", type=Path, required=True, help="The context binary."),
        flag("--json_file", metavar="JSON", type=Path, required=True, help="File to write."),
    ),
    example="qnn-context-binary-utility --context_binary output/model.bin --json_file model.json",
)

_ENCODINGS = {
    "per_tensor": "SCALE_OFFSET",
    "per_axis": "AXIS_SCALE_OFFSET",
    "bitwidth_per_tensor": "BW_SCALE_OFFSET",
    "bitwidth_per_axis": "BW_AXIS_SCALE_OFFSET",
}
_WORDS = (("sfixed", "SFIXED_POINT"), ("ufixed", "UFIXED_POINT"), ("uint", "UINT"), ("int", "INT"), ("float", "FLOAT"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return PROGRAM.run(argv, _write)


def _write(options: argparse.Namespace, tell: Messages) -> None:
    from hexaquant.core.atomic import write_text
    from hexaquant.folder.manifest import check_integrity
    from hexaquant.qnn.inspect import inspect_binary

    recorded = options.context_binary.is_file() and check_integrity(options.context_binary)
    document = metadata(inspect_binary(options.context_binary))
    write_text(options.json_file, json.dumps(document, indent=2))
    checked = "its SHA-256 is the recorded one" if recorded else "no SHA-256 is recorded for it"
    tell.info(f"{options.json_file}: {document['info']['numGraphs']} graphs of {options.context_binary}; {checked}")


def metadata(info: BinaryInfo) -> dict[str, Any]:
    """The document of ``info``."""
    content = {
        "buildId": info.build_id,
        "coreApiVersion": info.core_version,
        "backendApiVersion": info.backend_version,
        "socModel": info.soc_model,
        "contextBinarySize": info.size,
        "numGraphs": len(info.graphs),
        "graphs": [{"info": _graph(graph)} for graph in info.graphs],
    }
    return {"info": content}


def _graph(graph: GraphRecord) -> dict[str, Any]:
    return {
        "graphName": graph.name,
        "numGraphInputs": len(graph.inputs),
        "graphInputs": [{"info": _tensor(tensor, "APP_WRITE")} for tensor in graph.inputs],
        "numGraphOutputs": len(graph.outputs),
        "graphOutputs": [{"info": _tensor(tensor, "APP_READ")} for tensor in graph.outputs],
    }


def _tensor(tensor: TensorInfo, kind: str) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "type": f"QNN_TENSOR_TYPE_{kind}",
        "dataType": f"QNN_DATATYPE_{data_type(tensor.dtype)}",
        "rank": len(tensor.shape),
        "dimensions": list(tensor.shape),
        "quantizeParams": _quantize(tensor.quant),
    }


def data_type(name: str) -> str:
    """ "ufixed8" -> "UFIXED_POINT_8", "float32" -> "FLOAT_32", "bool" -> "BOOL_8"."""
    for ours, theirs in _WORDS:
        if name.startswith(ours):
            return f"{theirs}_{name.removeprefix(ours)}"
    return {"bool": "BOOL_8", "bfloat16": "BFLOAT_16"}.get(name, name)


def _quantize(quant: QuantInfo | None) -> dict[str, Any]:
    if quant is None:
        return {"definition": "QNN_DEFINITION_UNDEFINED", "quantizationEncoding": "QNN_QUANTIZATION_ENCODING_UNDEFINED"}
    kind = _ENCODINGS.get(quant.kind, "UNDEFINED")
    found: dict[str, Any] = {
        "definition": "QNN_DEFINITION_DEFINED",
        "quantizationEncoding": f"QNN_QUANTIZATION_ENCODING_{kind}",
    }
    pairs = [{"scale": scale, "offset": offset} for scale, offset in zip(quant.scales, quant.offsets)]
    if kind == "SCALE_OFFSET":
        return {**found, "scaleOffset": pairs[0]}
    return {**found, "axis": quant.axis, "bitwidth": quant.bits, "scaleOffsets": pairs}
