"""Where Qualcomm's libraries lie, and which of their binary interfaces this package knows.

They come inside the ``onnxruntime-qnn`` wheel (under Qualcomm's licence) and are never vendored. Two things
in the C interface change between releases without notice and crash or mislead when guessed, so every known
release has a row in :data:`KNOWN_RELEASES` and any other release is refused.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path

from hexaquant.core.errors import EnvironmentLacksError

PACKAGE = "onnxruntime-qnn"


@dataclass(frozen=True)
class AbiRow:
    """What differs in the C interface of one release.

    ``function_count``: pointers in ``QnnInterface_t``, which is passed by value (a wrong size is a segfault).
    ``htp_device_offset``: byte offset of the union in the HTP device config (a wrong one silently ignores the SoC).
    """

    core_minor: int
    function_count: int
    htp_device_offset: int


KNOWN_RELEASES = {"2.7.0": AbiRow(core_minor=40, function_count=75, htp_device_offset=8)}
"""Release of the wheel -> its interface; measured, not taken from headers."""


@dataclass(frozen=True)
class QnnLibraries:
    """Paths of the libraries of one installed wheel."""

    release: str
    abi: AbiRow
    folder: Path

    @property
    def provider(self) -> Path:
        """The onnxruntime execution provider."""
        return self.folder / _file_name("onnxruntime_providers_qnn")

    @property
    def htp(self) -> Path:
        """The Hexagon backend: an emulator on x86, the NPU on a device."""
        return self.folder / _file_name("QnnHtp")

    @property
    def ir(self) -> Path:
        """The backend that writes DLC files."""
        return self.folder / _file_name("QnnIr")

    @property
    def system(self) -> Path:
        """The reader of DLC files and context binaries."""
        return self.folder / _file_name("QnnSystem")

    @property
    def genie(self) -> Path:
        """The runtime of language models; only hexaquant.llm needs it."""
        return self.folder / _file_name("Genie")

    @property
    def saver(self) -> Path:
        """The backend that records calls as C source; only saver.py needs it."""
        return self.folder / _file_name("QnnSaver")


def find_libraries() -> QnnLibraries:
    """Locate the installed libraries without loading them.

    Raises EnvironmentLacksError when the wheel is missing, damaged, of an unknown release, or without libraries for
    this platform.
    """
    release = _installed_release()
    if release not in KNOWN_RELEASES:
        known = ", ".join(KNOWN_RELEASES)
        raise EnvironmentLacksError(
            f"{PACKAGE} {release} is installed but only {known} is known to be binary compatible: "
            f"run pip install {PACKAGE}=={next(iter(KNOWN_RELEASES))}"
        )
    spec = importlib.util.find_spec("onnxruntime_qnn")
    if spec is None or spec.origin is None:
        raise EnvironmentLacksError(f"{PACKAGE} {release} is installed but its package cannot be found: reinstall it")
    found = QnnLibraries(release, KNOWN_RELEASES[release], Path(spec.origin).parent)
    for library in (found.provider, found.htp, found.ir, found.system):
        if not library.exists():
            raise EnvironmentLacksError(
                f"{PACKAGE} {release} has no {library.name} for {sys.platform}: use the reference backend here"
            )
        _require_whole(library, release)
    return found


def _require_whole(library: Path, release: str) -> None:
    """Raise EnvironmentLacksError where the file has not the size that the wheel records: one that was cut short dies
    of SIGBUS, or the target seems to refuse the network."""
    recorded = next((file.size for file in files(PACKAGE) or () if file.name == library.name), None)
    size = library.stat().st_size
    if recorded is not None and size != recorded:
        raise EnvironmentLacksError(
            f"{library.name} of {PACKAGE} {release} is damaged ({size} bytes of {recorded}): run pip install "
            f"--force-reinstall {PACKAGE}=={release}"
        )


def altered_libraries(found: QnnLibraries) -> list[str]:
    """Names of the libraries whose SHA-256 is not the one that the wheel records. Reads them whole (130 MB)."""
    altered = []
    recorded = {file.name: file.hash for file in files(PACKAGE) or ()}
    for library in (found.provider, found.htp, found.ir, found.system):
        stated = recorded.get(library.name)
        if stated is None or stated.mode != "sha256":
            continue
        with library.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != stated.value:
            altered.append(library.name)
    return altered


def _installed_release() -> str:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        raise EnvironmentLacksError(
            f"{PACKAGE} is not installed (there is no wheel for macOS): run pip install {PACKAGE}=="
            f"{next(iter(KNOWN_RELEASES))}, or use the reference backend"
        ) from None


def _file_name(stem: str) -> str:
    return f"{stem}.dll" if sys.platform == "win32" else f"lib{stem}.so"
