"""``qairt-dlc-info``: the layers of a DLC with types, tensors, encodings, parameters and multiply-accumulates."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexaquant.cli.console import bytes_text, table
from hexaquant.cli.tools.layers import Layer, layers_of
from hexaquant.cli.tools.program import Messages, Program, flag
from hexaquant.cli.tools.shared_flags import JSON
from hexaquant.core.errors import InputError

if TYPE_CHECKING:
    from hexaquant.qnn.records import TensorInfo

_ALL = "encodings and types are always shown, all of them with --json"
COLUMNS = ("id", "name", "type", "inputs", "outputs", "constants", "parameters", "MACs")
PROGRAM = Program(
    name="qairt-dlc-info",
    summary="List the layers of a DLC: name, type, inputs, outputs and constants with shape, type and encoding, number "
    "of\nparameters, multiply-accumulates of convolutions, fully connected layers and matrix products.",
    flags=(
        flag("-i", "--input_dlc", metavar="DLC", type=Path, required=True, help="The DLC."),
        flag("-s", "--save", metavar="CSV", type=Path, help="Write the layers to a CSV file."),
        JSON,
    ),
    example="qairt-dlc-info -i model.dlc -s layers.csv",
    refused={
        "-d": _ALL,
        "--display_all_encodings": _ALL,
        "-t": _ALL,
        "-m": "memory is known only after compiling",
        "--display_memory": "memory is known only after compiling",
        "--dump_framework_trace": "DLCs made here hold none",
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return PROGRAM.run(argv, _show)


def _show(options: argparse.Namespace, tell: Messages) -> None:
    path = options.input_dlc
    if not path.is_file():
        raise InputError(f"there is no DLC {path}; check the path")
    from hexaquant.core.atomic import write_text
    from hexaquant.qnn.inspect import inspect_dlc

    content = inspect_dlc(path)
    graphs = {graph.name: layers_of(graph) for graph in content.graphs}
    if options.save is not None:
        write_text(options.save, _csv(graphs))
        tell.info(f"{options.save}: {sum(map(len, graphs.values()))} layers")
    document = {
        "dlc": str(path),
        "bytes": path.stat().st_size,
        "records": content.records,
        "graphs": [_graph(name, layers) for name, layers in graphs.items()],
    }
    drawings = [lambda n=name, rows=layers: _table(n, rows) for name, layers in graphs.items()]
    tell.console.result(document, *drawings, lambda: _records(content.records))  # type: ignore[arg-type]


def _graph(name: str, layers: list[Layer]) -> dict[str, Any]:
    totals = {"layers": len(layers), "parameters": sum(layer.parameters for layer in layers), "macs": _macs(layers)}
    return {"name": name, **totals, "operators": [layer.to_json() for layer in layers]}


def _macs(layers: list[Layer]) -> int:
    return sum(layer.macs or 0 for layer in layers)


def _cells(layer: Layer) -> list[object]:
    tensors = ("; ".join(spell(t) for t in group) for group in (layer.inputs, layer.outputs, layer.constants))
    return [layer.index, layer.name, layer.type, *tensors, layer.parameters, "" if layer.macs is None else layer.macs]


def spell(tensor: TensorInfo) -> str:
    """ "x 1x3x8x8 ufixed8 scale 0.0235 offset -128"."""
    text = f"{tensor.name} {'x'.join(map(str, tensor.shape))} {tensor.dtype}"
    quant = tensor.quant
    if quant is None or not quant.scales:
        return text
    bits = f" {quant.bits} bit" if quant.bits else ""
    if len(quant.scales) == 1:
        return f"{text}{bits} scale {quant.scales[0]:.9g} offset {quant.offsets[0]}"
    return f"{text}{bits} {len(quant.scales)} scales {min(quant.scales):.3g} .. {max(quant.scales):.3g}"


def _table(name: str, layers: list[Layer]) -> Any:
    total = f"{len(layers)} layers, {sum(layer.parameters for layer in layers):,} parameters, {_macs(layers):,} MACs"
    return table(f"graph {name}: {total}", COLUMNS, [_cells(layer) for layer in layers], right=(0, 6, 7))


def _records(records: dict[str, int]) -> Any:
    rows = [[name, bytes_text(size)] for name, size in records.items()]
    return table("records of the file", ["record", "size"], rows, right=(1,))


def _csv(graphs: dict[str, list[Layer]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["graph", *COLUMNS])
    for name, layers in graphs.items():
        writer.writerows([[name, *_cells(layer)] for layer in layers])
    return buffer.getvalue()
