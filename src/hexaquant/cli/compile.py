"""``hexaquant compile``: DLC and context binaries of an artifact folder."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, bytes_text, table
from hexaquant.cli.report import refresh_page

EPILOG = """Examples:

\b
  hexaquant compile out
  hexaquant compile out --target sm8650 --target sm8550 --o-level 3"""


def compile_command(
    context: typer.Context,
    folder: o.FolderArgument,
    target: Annotated[
        list[str] | None, typer.Option(help="SoC or architecture; repeat for several (default: the quantized for).")
    ] = None,
    o_level: Annotated[int, typer.Option("--o-level", min=1, max=3, help="Effort of the compiler.")] = 3,
    batch: Annotated[int, typer.Option(min=1, help="Size of a batch that is symbolic in the model.")] = 1,
    no_check: o.NoCheckOption = False,
    force: o.ForceOption = False,
    json: o.JsonOption = False,
) -> None:
    """Lower the quantized model to a DLC and compile a context binary for each target."""
    console: Console = context.obj
    from hexaquant.api.compile import compile_folder

    with console.events(folder) as events:
        made = compile_folder(
            folder, target or None, batch=batch, o_level=o_level, force=force, check=not no_check, events=events
        )
    refresh_page(console, folder)
    document: dict[str, Any] = {
        "folder": str(made.folder),
        "dlc": {"path": str(made.dlc), "bytes": made.dlc.stat().st_size},
        "binaries": {
            soc: {"path": str(path), "bytes": path.stat().st_size, "reused": soc in made.reused}
            for soc, path in made.binaries.items()
        },
    }
    console.result(document, lambda: _table(document))


def _table(document: dict[str, Any]) -> Any:
    rows = [["", document["dlc"]["path"], bytes_text(document["dlc"]["bytes"])]]
    rows += [[soc, entry["path"], bytes_text(entry["bytes"])] for soc, entry in document["binaries"].items()]
    return table("", ["target", "file", "size"], rows, right=(2,))
