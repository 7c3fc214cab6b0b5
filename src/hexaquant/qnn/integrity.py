"""SHA-256 of artifacts. Context binaries carry no checksum: with flipped weight bytes they load and run wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.io.manifest import sha256_of

MANIFEST = "manifest.json"


def _manifest(path: Path) -> dict[str, Any]:
    manifest = path.parent / MANIFEST
    if not manifest.is_file():
        return {}
    try:
        content = json.loads(manifest.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{manifest} is not JSON or is truncated: write the artifacts again") from error
    return content if isinstance(content, dict) else {}


def recorded_sha256(path: Path) -> str | None:
    """The digest of ``path`` in the manifest of its folder, or None when it is not listed.

    The manifest's ``files`` maps file names to a digest or to an object with a ``sha256``.
    Raises InputError for a manifest that is not JSON.
    """
    files = _manifest(path).get("files", {})
    entry = files.get(path.name) if isinstance(files, dict) else None
    if isinstance(entry, dict):
        entry = entry.get("sha256")
    return entry if isinstance(entry, str) else None


def recorded_io(path: Path, graph: str | None = None) -> dict[str, list[list[str]]] | None:
    """Names of inputs and outputs (see NativeIo.names) in the manifest beside ``path``, or None when there are none.

    ``sections["context <file name>"].io`` is this file's own (``.graphs[graph].io`` where it may hold several),
    ``sections.lower.io`` the whole folder's.
    """
    sections = _manifest(path).get("sections", {})
    own = sections.get(f"context {path.name}", {})
    own = own.get("graphs", {}).get(graph, own).get("io")
    io = own or sections.get("lower", {}).get("io")
    return io if isinstance(io, dict) else None


def check_integrity(path: Path) -> bool:
    """True when the digest is recorded and matches, False when none is recorded. Raises InputError on a mismatch."""
    expected = recorded_sha256(path)
    if expected is None:
        return False
    if sha256_of(path) != expected:
        raise InputError(
            f"{path.name} is damaged: its SHA-256 is not the one in {MANIFEST} beside it; compile it again"
        )
    return True
