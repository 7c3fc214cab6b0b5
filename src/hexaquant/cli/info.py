"""``hexaquant info``: what an artifact folder, DLC, context binary, encodings file or ONNX file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console

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
        from hexaquant.cli.coverage import coverage_drawings, read_coverage

        proof = read_coverage(path)
        console.result(proof, *coverage_drawings(proof, limit))
        return
    from hexaquant.cli.describe import describe, drawings

    document = describe(path, model)
    console.result(document, *drawings(document, limit))
