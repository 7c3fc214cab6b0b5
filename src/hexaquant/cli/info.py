"""``hexaquant info``: what an artifact folder, DLC, context binary, encodings file or ONNX file holds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, table
from hexaquant.cli.reports import Drawing
from hexaquant.core.errors import InputError

# The coverage proof of an artifact folder (analysis/coverage.py) as a document and as tables.

COVERAGE = "coverage.json"
DLC = "model.dlc"
MEANING = {
    "exact": "has our encoding to the last bit",
    "inherited": "the same data, moved, with the same encoding",
    "inserted": "added by the lowering",
    "absorbed": "data movement merged into a neighbour",
    "missing": "did NOT arrive",
    "changed": "has ANOTHER encoding than ours",
}


def read_coverage(path: Path) -> dict[str, Any]:
    """The proof of an artifact folder, or of a DLC that convert wrote: {kind, path, target, complete, counts, tensors}.

    Raises InputError when there is none yet or when its file was changed since.
    """
    from hexaquant.folder.manifest import read_manifest, verify_files

    if not path.is_dir() and (path.suffix != ".dlc" or not path.is_file()):
        raise InputError(f"{path} is no artifact folder and no DLC; --coverage reads what a conversion proved")
    folder, name = (path, COVERAGE) if path.is_dir() else (path.parent, f"{path.name}.{COVERAGE}")
    if path.name == DLC and not (folder / name).is_file():
        name = COVERAGE
    manifest = read_manifest(folder)
    if name not in manifest.files:
        raise InputError(f"{folder} has no {name} yet; run hexaquant compile or convert the network first")
    verify_files(folder, [name])
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    rows = content["rows"] if isinstance(content, dict) else content
    recorded = content if isinstance(content, dict) else {}
    counts = Counter(row["verdict"] for row in rows)
    return {
        "kind": "coverage",
        "path": str(path),
        "target": recorded.get("target") or manifest.lowering.target or manifest.target,
        "complete": not counts["missing"] and not counts["changed"],
        "counts": {verdict: counts[verdict] for verdict in MEANING},
        "tensors": rows,
    }


def coverage_drawings(document: dict[str, Any], limit: int) -> tuple[Drawing, ...]:
    """How many tensors have each verdict, and the first ``limit`` tensors."""
    counts = [[count, verdict, MEANING[verdict]] for verdict, count in document["counts"].items()]
    rows = [[r["verdict"], r["tensor"], r["lowered"], r["asked"], r["has"]] for r in document["tensors"]]
    more = f" (first {limit} of {len(rows)})" if len(rows) > limit else ""
    title = f"{document['path']}: encodings in the DLC for {document['target']}"
    columns = ["verdict", "tensor", "name in the DLC", "asked for", "found"]
    return (
        lambda: table(title, ["tensors", "verdict", ""], counts, right=(0,)),
        lambda: table(f"tensors{more}", columns, rows[:limit]),
    )


EPILOG = """Examples:

\b
  hexaquant info out
  hexaquant info out --coverage
  hexaquant info out/model.dlc
  hexaquant info out/model.sm8650.bin --json
  hexaquant info model.encodings --model model.onnx --limit 500"""


def info(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE|OUT", help=".onnx, .encodings, .dlc, .bin, or a folder.")],
    limit: Annotated[int, typer.Option(min=1, help="Rows of each table; --json has all.")] = 40,
    model: Annotated[
        Path | None, typer.Option(help="ONNX file that an encodings file must belong to; others are refused.")
    ] = None,
    coverage: Annotated[
        bool,
        typer.Option("--coverage", help="Of a folder or DLC: every tensor's encoding, asked for and found in the DLC."),
    ] = False,
    json: o.JsonOption = False,
) -> None:
    """Graphs, tensors, types, encodings and sizes."""
    console: Console = context.obj
    if coverage:
        proof = read_coverage(path)
        console.result(proof, *coverage_drawings(proof, limit))
        return
    from hexaquant.cli.describe import describe, drawings

    document = describe(path, model)
    console.result(document, *drawings(document, limit))
