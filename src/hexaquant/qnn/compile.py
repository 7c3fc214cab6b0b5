"""DLCs to a context binary for one SoC."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hexaquant.core.atomic import atomic_path
from hexaquant.core.errors import InputError
from hexaquant.folder.manifest import sha256_of
from hexaquant.qnn.inspect import inspect_binary
from hexaquant.qnn.native_io import NativeIo
from hexaquant.qnn.process import JobFailed, Limits, run_job
from hexaquant.qnn.profile import Level, Stage, stages_from_json
from hexaquant.qnn.records import BinaryInfo


@dataclass(frozen=True)
class GraphSource:
    """A DLC and how to compile it. ``name``: new name of its only graph (None: as in the DLC);

    ``o_level`` 1..3: effort; ``vtcm_mb``: tightly coupled memory (None: what the SoC has).
    """

    dlc: Path
    name: str | None = None
    o_level: int = 3
    vtcm_mb: int | None = None


@dataclass(frozen=True)
class CompileReport:
    """A written context binary: where, its digest, how long it took and what its metadata say.

    ``io``: names and order of inputs and outputs, when it was compiled directly from an ONNX file. ``stages``: what
    was measured on the way, when a profile was asked for.
    """

    path: Path
    sha256: str
    seconds: float
    info: BinaryInfo
    io: NativeIo | None = None
    stages: tuple[Stage, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


def compile_dlc(
    dlc: Path,
    binary: Path,
    soc_model: int,
    arch: int | None,
    *,
    o_level: int = 3,
    vtcm_mb: int | None = None,
    graph_name: str | None = None,
    limits: Limits | None = None,
) -> CompileReport:
    """One DLC to one context binary; see :func:`compile_graphs` and :class:`GraphSource`."""
    return compile_graphs([GraphSource(dlc, graph_name, o_level, vtcm_mb)], binary, soc_model, arch, limits=limits)


def compile_graphs(
    sources: Sequence[GraphSource],
    binary: Path,
    soc_model: int,
    arch: int | None,
    *,
    profiling: Level | None = None,
    share_weights: bool = False,
    limits: Limits | None = None,
) -> CompileReport:
    """Compile the graphs of all ``sources`` for one SoC (Qualcomm's number, e.g. 57) into one ``binary``, atomically.

    ``arch``: None is the SoC's own; ``profiling``: what the report's stages shall hold; ``share_weights``: equal
    weights of the graphs are there once (the emulator of release 2.7.0 dies when it loads such a binary). Raises
    TargetError with the library's reason when the SoC refuses a graph, InputError for a damaged DLC or equal graph
    names, WorkerError when the library crashes or takes too long.
    """
    for source in sources:
        _check(source)
    start = time.monotonic()
    with atomic_path(binary) as part:
        graphs = [{**asdict(source), "dlc": str(source.dlc.resolve())} for source in sources]
        spec = {"graphs": graphs, "bin": str(part.resolve()), "soc_model": soc_model, "arch": arch}
        try:
            outcome = run_job("compile", {**spec, "profiling": profiling, "share_weights": share_weights}, limits)
        except JobFailed as failure:
            names = ", ".join(source.dlc.name for source in sources)
            raise failure.as_error(f"compiling {names} for SoC model {soc_model}") from failure
        info = inspect_binary(part)
        digest = sha256_of(part)
    stages = stages_from_json(outcome.result["stages"])
    return CompileReport(binary, digest, time.monotonic() - start, info, stages=stages)


def _check(source: GraphSource) -> None:
    if source.o_level not in (1, 2, 3):
        raise InputError(f"optimization level {source.o_level} does not exist: choose 1, 2 or 3")
    if not source.dlc.is_file():
        raise InputError(f"{source.dlc} does not exist: lower the model to a DLC first")
