"""DLC to context binary for one SoC."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hexaquant.core.atomic import atomic_path
from hexaquant.core.errors import InputError
from hexaquant.io.manifest import sha256_of
from hexaquant.qnn.inspect import inspect_binary
from hexaquant.qnn.native_io import NativeIo
from hexaquant.qnn.process import JobFailed, Limits, run_job
from hexaquant.qnn.records import BinaryInfo


@dataclass(frozen=True)
class CompileReport:
    """A written context binary: where, its digest, how long it took and what its metadata say.

    ``io``: names and order of inputs and outputs, when it was compiled directly from an ONNX file.
    """

    path: Path
    sha256: str
    seconds: float
    info: BinaryInfo
    io: NativeIo | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


def compile_dlc(
    dlc: Path,
    binary: Path,
    soc_model: int,
    arch: int,
    *,
    o_level: int = 3,
    vtcm_mb: int | None = None,
    graph_name: str | None = None,
    limits: Limits | None = None,
) -> CompileReport:
    """Compile ``dlc`` for one SoC (Qualcomm's number, e.g. 57) and write ``binary`` atomically.

    ``o_level`` 1..3: effort; ``vtcm_mb``: tightly coupled memory (None: what the SoC has); ``graph_name``:
    new name of the only graph. Raises TargetError with the library's reason when the SoC refuses the graph,
    InputError for a damaged DLC, WorkerError when the library crashes or takes too long.
    """
    if o_level not in (1, 2, 3):
        raise InputError(f"optimization level {o_level} does not exist: choose 1, 2 or 3")
    if not dlc.is_file():
        raise InputError(f"{dlc} does not exist: lower the model to a DLC first")
    start = time.monotonic()
    with atomic_path(binary) as part:
        spec = {
            "dlc": str(dlc.resolve()),
            "bin": str(part.resolve()),
            "soc_model": soc_model,
            "arch": arch,
            "o_level": o_level,
            "vtcm_mb": vtcm_mb,
            "graph_name": graph_name,
        }
        try:
            run_job("compile", spec, limits)
        except JobFailed as failure:
            raise failure.as_error(f"compiling {dlc.name} for SoC model {soc_model}") from failure
        info, digest = inspect_binary(part), sha256_of(part)
    return CompileReport(binary, digest, time.monotonic() - start, info)
