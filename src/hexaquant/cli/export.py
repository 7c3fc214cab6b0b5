"""``hexaquant export``: the encodings of an artifact folder in another version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, bytes_text

EPILOG = """Examples:

\b
  hexaquant export out --encodings-version 2.0.0
  hexaquant export out --encodings-version 0.6.1 -o for_qairt/model.encodings

Says what the version cannot hold."""

SHOWN = 5
"""Lost things that are listed one by one; the rest is counted. ``--json`` has all."""


def export(
    context: typer.Context,
    folder: o.FolderArgument,
    encodings_version: o.VersionOption = "1.0.0",
    file: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="File to write (default: OUT/model.encodings)."),
    ] = None,
    json: o.JsonOption = False,
) -> None:
    """Write the encodings in version 0.6.1, 1.0.0 or 2.0.0."""
    console: Console = context.obj
    from hexaquant.folder.artifacts import export_encodings
    from hexaquant.io.encoding_losses import check_version

    check_version(encodings_version)
    made = export_encodings(folder, encodings_version, file)
    written = made.files[0]
    for sentence in made.lost[:SHOWN]:
        console.warn(sentence)
    if len(made.lost) > SHOWN:
        console.warn(f"and {len(made.lost) - SHOWN} more")
    size = written.stat().st_size
    document = {"file": str(written), "bytes": size, "version": encodings_version, "lost": list(made.lost)}
    console.result(document, lambda: f"{written}: version {encodings_version}, {bytes_text(size)}")
