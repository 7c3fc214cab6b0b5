"""The command lines that made an artifact folder, kept in its manifest, so that a report can repeat them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hexaquant.io.manifest import NAME, amend_manifest, read_manifest

SECTION = "commands"
FRESH = ("deploy", "quantize", "auto")
"""Commands that make a folder from a network: what was recorded before is of another one."""


def record_command(folder: str | Path, arguments: Sequence[str]) -> None:
    """Add ``hexaquant arguments...`` to the folder's manifest; one that is there already stays where it is.

    Does nothing where there is no manifest. Raises InputError for a damaged one.
    """
    out = Path(folder)
    if not (out / NAME).is_file() or not arguments:
        return
    recorded: list[dict[str, Any]] = read_manifest(out).sections.get(SECTION, [])
    if any(entry.get("argv") == list(arguments) for entry in recorded):
        return
    kept = [] if arguments[0] in FRESH else recorded
    entry = {"argv": list(arguments), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    amend_manifest(out, sections={SECTION: [*kept, entry]})
