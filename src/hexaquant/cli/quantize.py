"""``hexaquant quantize``: the artifact folder without DLC and binary; nothing is compiled or measured."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, bytes_text, table
from hexaquant.cli.data import RANDOM_WARNING, calibration_data, check_choice
from hexaquant.cli.image_options import Images
from hexaquant.cli.option_groups import grouped
from hexaquant.cli.quantization_options import Quantization

EPILOG = """Examples:

\b
  hexaquant quantize net.onnx --data calib.npz --scheme w8a16 -o out
  hexaquant quantize model.py:build --data data.py:batches --overrides mixed.yaml -o out

Then: hexaquant compile out; hexaquant verify out --data test.npz"""


@grouped
def quantize(
    context: typer.Context,
    model: o.ModelArgument,
    out: o.OutOption,
    data: o.DataOption = None,
    how: Quantization = Quantization(),
    encodings_version: o.VersionOption = "1.0.0",
    random_data: o.RandomOption = False,
    force: o.ForceOption = False,
    images: Images = None,
    strict: o.StrictOption = False,
    json: o.JsonOption = False,
) -> None:
    """Quantize a network and export ONNX, encodings and QDQ ONNX."""
    console: Console = context.obj
    check_choice(data, random_data)
    from hexaquant.api.deploy import quantize_folder

    settings = how.settings(encodings_version)

    with console.events(out) as events:
        graph = how.network(model)
        samples = calibration_data(graph, data, random_data, images)
        made = quantize_folder(graph, samples, out, settings, force=force, events=events)
    if random_data:
        console.alarm(RANDOM_WARNING)
    document = summary(out, made.reused, made.exported.files, made.exported.lost)
    console.result(document, lambda: tensor_table(document), lambda: file_table(document["files"]))
    o.check_strict(strict, console.doubts)


def summary(out: Path, reused: bool, files: tuple[Path, ...], lost: tuple[str, ...]) -> dict[str, Any]:
    """What was quantized how, and what was written."""
    from hexaquant.folder.manifest import read_manifest

    manifest = read_manifest(out)
    kinds: Counter[tuple[str, str]] = Counter()
    for tensor in manifest.sections["plan"]["tensors"].values():
        kinds[(str(tensor.get("role")), grid_text(tensor.get("grid")))] += 1
    return {
        "folder": str(out),
        "target": manifest.target,
        "scheme": manifest.scheme,
        "calibration_data": manifest.quantization.data,
        "notes": list(manifest.quantization.notes),
        "reused": reused,
        "tensors": [{"role": r, "grid": g, "count": n} for (r, g), n in sorted(kinds.items())],
        "files": {f.name: {"path": str(f), "bytes": f.stat().st_size} for f in files},
        "lost": list(lost),
    }


def grid_text(grid: dict[str, Any] | None) -> str:
    """ "8 bits", "16 bits float", "4 bits, per channel" of a grid in a manifest; "float" where there is none."""
    if grid is None:
        return "float"
    kind = " float" if grid.get("kind") == "float" else ""
    layout = grid.get("granularity", "tensor")
    where = layout if isinstance(layout, str) else layout.get("kind", "tensor")
    return f"{grid['bits']} bits{kind}" + ("" if where == "tensor" else f", per {where}")


def tensor_table(document: dict[str, Any]) -> Any:
    rows = [[t["role"], t["grid"], t["count"]] for t in document["tensors"]]
    return table(f"{document['scheme']} for {document['target']}", ["tensors", "grid", "count"], rows, right=(2,))


def file_table(files: dict[str, dict[str, Any]]) -> Any:
    rows = [[entry["path"], bytes_text(entry["bytes"])] for entry in files.values()]
    return table("", ["file", "size"], rows, right=(1,))
