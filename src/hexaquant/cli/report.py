"""``hexaquant report``: the folder as one page of HTML, or live while a job works on it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, bytes_text
from hexaquant.core.errors import HexaquantError, InputError
from hexaquant.core.events import Event, Events

# OUT/report.html at the end of a command: written by deploy and auto, written again by what changes a folder later.


def write_page(console: Console, folder: Path) -> None:
    """OUT/report.html, or a line that says how to get it."""
    from hexaquant.api.report import report_if_installed

    def say(event: Event) -> None:
        console.say(event.text)

    written = report_if_installed(folder, Events(say))
    if written is not None:
        console.say(f"report: {written}")


def refresh_page(console: Console, folder: Path) -> None:
    """OUT/report.html with what the command found, where there is one; a warning where that cannot be done."""
    from hexaquant.report import REPORT

    if not (folder / REPORT).is_file():
        return
    try:
        write_page(console, folder)
    except HexaquantError as error:
        console.warn(f"{folder / REPORT} is older than this command: {error}")


EPILOG = """Examples:

\b
  hexaquant report out
  hexaquant report out -o page.html --open
  hexaquant report out --serve --port 8080

The file needs no network. Sections without data name the command that makes it. --serve listens on 127.0.0.1 only
and shows what a job that writes to OUT is doing; stop it with Ctrl-C."""
FileOption = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="File to write (default: OUT/report.html).")
]


def report(
    context: typer.Context,
    folder: o.FolderArgument,
    output: FileOption = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Serve it to this machine, live.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --serve: 0 takes a free one.")] = 0,
    json: o.JsonOption = False,
) -> None:
    """One self-contained page: accuracy, steps, sensitivity, error, coverage, the network, how to reproduce."""
    console: Console = context.obj
    if serve and output is not None:
        raise InputError("--serve writes no file; leave out -o, or --serve")
    if serve:
        _serve(console, folder, port, open_)
        return
    from hexaquant.api.report import write_report

    written = write_report(folder, output)
    document = {"file": str(written), "bytes": written.stat().st_size}
    console.result(document, lambda: f"{written}: {bytes_text(written.stat().st_size)}")
    if open_:
        _show(written.resolve().as_uri())


def _serve(console: Console, folder: Path, port: int, open_: bool) -> None:
    """Until Ctrl-C."""
    from hexaquant.report.serve import make_server

    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give the folder that a job writes to")
    with make_server(folder, port) as server:
        address = f"http://{server.server_address[0]!s}:{server.server_address[1]}/"
        console.result({"address": address, "folder": str(folder)}, lambda: address)
        if open_:
            _show(address)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def _show(address: str) -> None:
    import webbrowser

    webbrowser.open(address)
