"""``manifest.json`` of an artifact folder: what made it, SHA-256 of each file, names, target, scheme.

Qualcomm's binaries carry no checksum: flipped weight bytes load and run with wrong numbers (facts of the C API), so
every consumer calls :func:`verify_files` before it trusts a file.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hexaquant.core.atomic import write_text
from hexaquant.core.errors import InputError

NAME = "manifest.json"
FORMAT = 1
PACKAGES = ("hexaquant", "onnxruntime-qnn", "onnxruntime", "onnx", "onnx-ir", "torch", "numpy")


FRESH = ("deploy", "quantize", "auto")
"""Commands that make a folder from a network: what was recorded before is of another one."""
IoNames = dict[str, list[list[str]]]
"""Names of inputs and outputs (see NativeIo.names)."""


class FileRecord(BaseModel):
    """One file of the folder. ``bytes``: 0 where only the digest was recorded."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(default=0, ge=0)


class Section(BaseModel):
    """What one step recorded about itself. ``fingerprint``: of all that it was made from (folder/resume.py)."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    fingerprint: str = ""


class Quantization(Section):
    """``data``: source of the calibration samples; ``notes``: what import changed that the user should know;
    ``training``: what the last training was asked and did."""

    data: str = ""
    notes: tuple[str, ...] = ()
    encodings_version: str = "1.0.0"
    overrides: dict[str, Any] | None = None
    steps: tuple[dict[str, Any], ...] = ()
    training: dict[str, Any] | None = None


class Lowering(Section):
    """From QDQ model to DLC, for the SoC ``target``."""

    target: str = ""
    batch: int = 1
    io: IoNames | None = None


class Compilation(Section):
    """From DLC to the binary of one SoC. ``qdq``: SHA-256 of the QDQ model that the DLC was made from."""

    batch: int = 1
    o_level: int | None = None
    qdq: str | None = None


class Context(Section):
    """A file that a drop-in program wrote. ``graphs``: of each graph in it, at least its "io"."""

    target: str = ""
    io: IoNames | None = None
    graphs: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Command(BaseModel):
    """A command line that worked on the folder, and when (UTC)."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    argv: list[str]
    at: str = ""


S = TypeVar("S", bound=BaseModel)


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

    @field_validator("files", mode="before")
    @classmethod
    def _digests(cls, files: Any) -> Any:
        """A file may be recorded by its digest alone."""
        if not isinstance(files, dict):
            return files
        return {name: {"sha256": entry} if isinstance(entry, str) else entry for name, entry in files.items()}

    @property
    def quantization(self) -> Quantization:
        """Raises InputError where the folder was not quantized."""
        if "quantization" not in self.sections:
            raise InputError(f"{NAME} says nothing of a quantization; run hexaquant quantize or deploy first")
        return self.section("quantization", Quantization)

    @property
    def lowering(self) -> Lowering:
        return self.section("lower", Lowering)

    def compilation(self, target: str) -> Compilation:
        """Of the binary for the SoC ``target``."""
        return self.section(f"compile {target}", Compilation)

    def context(self, file: str) -> Context:
        """Of the binary or DLC ``file`` that a drop-in program wrote."""
        return self.section(f"context {file}", Context)

    @property
    def commands(self) -> tuple[Command, ...]:
        """The command lines that made the folder, in order. Raises InputError for damaged ones."""
        recorded = self.sections.get("commands", [])
        if not isinstance(recorded, list):
            raise InputError(f"{NAME} is damaged at commands (not a list); make the folder again")
        return tuple(_checked(Command, entry, "commands") for entry in recorded)

    def section(self, name: str, kind: type[S]) -> S:
        """The section ``name`` as ``kind``, its defaults where there is none. Raises InputError for a damaged one."""
        return _checked(kind, self.sections.get(name, {}), name)

    def io(self, file: str, graph: str | None = None) -> IoNames | None:
        """Names of inputs and outputs of ``file`` (of ``graph`` in it): its own, else the folder's."""
        own = self.context(file)
        return own.graphs.get(graph or "", {}).get("io") or own.io or self.lowering.io


def _checked(kind: type[S], content: Any, name: str) -> S:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{NAME} is damaged at {name} ({_first(error)}); make the folder again") from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])


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


def manifest_beside(path: Path) -> Manifest | None:
    """The manifest in the folder of ``path``; None without one, and for another program's file of that name.

    Raises InputError for a damaged one.
    """
    file = path.parent / NAME
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        content = {"files": None}  # damaged: read_manifest says where
    if not isinstance(content, dict) or not {"files", "sections"} & content.keys():
        return None
    return read_manifest(path.parent)


def check_integrity(path: Path) -> bool:
    """True when the SHA-256 of ``path`` is recorded beside it and matches, False when none is recorded.

    Raises InputError on a mismatch.
    """
    manifest = manifest_beside(path)
    record = None if manifest is None else manifest.files.get(path.name)
    if record is None:
        return False
    if sha256_of(path) != record.sha256:
        raise InputError(f"{path.name} is damaged: its SHA-256 is not the one in {NAME} beside it; compile it again")
    return True


def recorded_io(path: Path, graph: str | None = None) -> IoNames | None:
    """Names of inputs and outputs of ``path`` in the manifest beside it, None when there are none."""
    manifest = manifest_beside(path)
    return None if manifest is None else manifest.io(path.name, graph)


def record_command(folder: str | Path, arguments: Sequence[str]) -> None:
    """Add ``hexaquant arguments...`` to the folder's manifest, so that a report can repeat it.

    One that is there already stays where it is. Does nothing where there is no manifest. Raises InputError for a
    damaged one.
    """
    out = Path(folder)
    if not (out / NAME).is_file() or not arguments:
        return
    recorded = read_manifest(out).commands
    if any(entry.argv == list(arguments) for entry in recorded):
        return
    kept = () if arguments[0] in FRESH else recorded
    entry = Command(argv=list(arguments), at=datetime.now(UTC).isoformat(timespec="seconds"))
    amend_manifest(out, sections={"commands": [command.model_dump() for command in (*kept, entry)]})


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
        if record.bytes not in (0, path.stat().st_size) or sha256_of(path) != record.sha256:
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
