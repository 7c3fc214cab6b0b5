"""``hexaquant bundle``: a folder for the device, with runtimes in C and Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, bytes_text, table
from hexaquant.cli.image_options import Images
from hexaquant.cli.option_groups import grouped

EPILOG = """Examples:

\b
  hexaquant bundle out --for linux-arm64
  hexaquant bundle out --for android -o phone --labels classes.txt --images preprocessing.yaml

The folder's README.md says how to build and run it; Qualcomm's libraries are not in it."""


@grouped
def bundle(
    context: typer.Context,
    folder: o.FolderArgument,
    platform: Annotated[str, typer.Option("--for", help="linux-arm64, windows-arm64, android or host.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="The bundle (default: OUT/bundle-PLATFORM).")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Which binary (default: of the SoC it was quantized for).")] = None,
    labels: Annotated[Path | None, typer.Option(help="Class names, one per line.")] = None,
    images: Images = None,
    json: o.JsonOption = False,
) -> None:
    """Write what an application on the device needs: binary, C runtime and example, Python runner, README.

    Of a language model: binary, Genie's configuration, and a C program that talks.
    """
    console: Console = context.obj
    from hexaquant.api.bundle import make_bundle
    from hexaquant.bundle.assemble import libraries

    made = make_bundle(folder, platform, output, target=target, labels=labels, images=images)
    sizes = {name: (made.folder / name).stat().st_size for name in made.files}
    document: dict[str, Any] = {
        "folder": str(made.folder),
        "platform": made.platform.name,
        "target": made.card.target.name,
        "binary": made.card.binary.name,
        "libraries": list(libraries(made.card, made.platform)),
        "files": sizes,
    }
    console.result(document, lambda: _table(document))


def _table(document: dict[str, Any]) -> Any:
    rows = [[name, bytes_text(size)] for name, size in document["files"].items()]
    title = f"{document['folder']} for {document['platform']}; Qualcomm's libraries: README.md"
    return table(title, ["file", "size"], rows, right=(1,))
