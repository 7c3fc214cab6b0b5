"""OUT/report.html at the end of a command: written by deploy and auto, written again by what changes a folder later."""

from __future__ import annotations

from pathlib import Path

from hexaquant.cli.console import Console
from hexaquant.core.errors import HexaquantError
from hexaquant.core.events import Event, Events


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
