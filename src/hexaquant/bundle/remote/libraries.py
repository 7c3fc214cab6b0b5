"""Qualcomm's libraries for a device, from a folder of the user's on this PC."""

from __future__ import annotations

from pathlib import Path

from hexaquant.bundle.platforms import Platform
from hexaquant.core.errors import InputError

FOLDER = "lib"
_BESIDE = "onnxruntime_qnn.libs"
"""The folder of a wheel that holds what its libraries need; they look for it beside their own folder."""


def library_files(folder: Path, platform: Platform, arch: int) -> dict[str, Path]:
    """Name on the device -> file here. Raises InputError naming a library that ``folder`` lacks."""
    found = {}
    for name in platform.library_files(arch):
        path = folder / name
        if not path.is_file():
            raise InputError(f"{folder} has no {name}, which {platform.title} needs for Hexagon v{arch}")
        found[f"{FOLDER}/{name}"] = path
    beside = folder.parent / _BESIDE
    if folder.name == "onnxruntime_qnn" and beside.is_dir():
        found |= {f"{_BESIDE}/{path.name}": path for path in sorted(beside.iterdir()) if path.is_file()}
    return found
