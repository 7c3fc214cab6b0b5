"""``manifest.json`` of an artifact folder: what made it, SHA-256 of each file, names, target, scheme.

Qualcomm's binaries carry no checksum: flipped weight bytes load and run with wrong numbers (facts of the C API), so
every consumer calls :func:`verify_files` before it trusts a file.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hexaquant.core.atomic import write_text
from hexaquant.core.errors import InputError

NAME = "manifest.json"
FORMAT = 1
PACKAGES = ("hexaquant", "onnxruntime-qnn", "onnxruntime", "onnx", "onnx-ir", "torch", "numpy")


class FileRecord(BaseModel):
    """One file of the folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """The manifest's content. Paths are relative to the folder, with forward slashes.

    ``names``: tensor name in ``model.onnx`` -> name in the lowered graph. ``sections``: what steps recorded about
    themselves ("plan", "calibration", "lower", "compile", ...), any JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int = FORMAT
    target: str = ""
    scheme: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    files: dict[str, FileRecord] = Field(default_factory=dict)
    names: dict[str, str] = Field(default_factory=dict)
    sections: dict[str, Any] = Field(default_factory=dict)


def versions() -> dict[str, str]:
    """Versions of Python, the platform and the packages that decide about numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces. Raises InputError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; export the model again") from None


def amend_manifest(
    folder: Path,
    *,
    files: Collection[str] = (),
    sections: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
    target: str | None = None,
    scheme: str | None = None,
) -> Manifest:
    """Add to the folder's manifest (made when missing): hashes of ``files`` as they are now, sections, names.

    Atomic. Raises InputError when a file is missing or lies outside the folder.
    """
    old = read_manifest(folder) if (folder / NAME).exists() else Manifest()
    records = {inside(name): _record(folder, name) for name in files}
    new = old.model_copy(
        update={
            "versions": versions(),
            "files": old.files | records,
            "sections": old.sections | dict(sections or {}),
            "names": old.names | dict(names or {}),
            "target": old.target if target is None else target,
            "scheme": old.scheme if scheme is None else scheme,
        }
    )
    write_text(folder / NAME, new.model_dump_json(indent=2))
    return new


def read_manifest(folder: Path) -> Manifest:
    """The manifest of ``folder``. Raises InputError when it is missing, truncated or of another format."""
    path = folder / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{folder} has no {NAME}; give a folder that hexaquant exported") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}); export the model again") from None
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its JSON"
        raise InputError(f"{path} is damaged at {where} ({first['msg']}); export the model again") from None
    if manifest.format != FORMAT:
        raise InputError(f"{path} has format {manifest.format}, this hexaquant reads {FORMAT}; export the model again")
    return manifest


def verify_files(folder: Path, names: Collection[str] | None = None) -> Manifest:
    """Check size and SHA-256 of ``names`` (default: all recorded files) against the manifest and return it.

    Raises InputError naming the first file that is missing, unrecorded or changed.
    """
    manifest = read_manifest(folder)
    for name in manifest.files if names is None else names:
        record = manifest.files.get(inside(name))
        if record is None:
            raise InputError(f"{folder / NAME} does not list '{name}'; make that file again")
        path = folder / name
        if not _exists(path):
            raise InputError(f"{path} is missing; make it again")
        if path.stat().st_size != record.bytes or sha256_of(path) != record.sha256:
            raise InputError(f"{path} was changed since it was made (its SHA-256 differs); make it again")
    return manifest


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # a name that no file can have
        raise InputError(f"{path.parent / NAME} lists '{path.name[:80]}': {error.strerror}; make it again") from None


def inside(name: str) -> str:
    """``name`` as a path below the artifact folder. Raises InputError for one that leads out of it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"'{name}' lies outside the artifact folder; only files inside it can be named")
    return str(path)


def _record(folder: Path, name: str) -> FileRecord:
    path = folder / name
    if not path.is_file():
        raise InputError(f"{path} is missing, so it cannot be recorded; make it first")
    return FileRecord(sha256=sha256_of(path), bytes=path.stat().st_size)
