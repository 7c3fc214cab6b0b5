"""DLC to context binary for the programs: which SoC, names of inputs and outputs, entry in the manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hexaquant.core.errors import InputError
from hexaquant.io.manifest import NAME, amend_manifest, read_manifest
from hexaquant.targets.soc import Target, find_target

if TYPE_CHECKING:
    from hexaquant.qnn.compile import CompileReport
    from hexaquant.qnn.records import GraphRecord


@dataclass(frozen=True)
class Settings:
    """How to compile. ``vtcm_mb`` None: all that the SoC has."""

    target: Target
    o_level: int = 3
    vtcm_mb: int | None = None


def choose_target(dlc: Path, *wanted: Target | str | None) -> Target:
    """The SoC that the command line and the config file agree on, else the one the DLC was made for.

    Raises InputError when they disagree, or when nobody says which.
    """
    named = list(dict.fromkeys(find_target(one) for one in wanted if one is not None))
    if len(named) > 1:
        raise InputError(f"the command line says {named[0].name}, the config file {named[1].name}; correct one")
    if named:
        return named[0]
    recorded = _recorded_target(dlc)
    if recorded is None:
        raise InputError(f"nothing says which SoC to compile {dlc.name} for; give --target_soc_model, e.g. sm8650")
    return recorded


def _recorded_target(dlc: Path) -> Target | None:
    """What the manifest beside the DLC says that it was lowered for."""
    if not (dlc.parent / NAME).is_file():
        return None
    manifest = read_manifest(dlc.parent)
    if dlc.name not in manifest.files:
        return None
    own = manifest.sections.get(f"context {dlc.name}", {})
    name = own.get("target") or manifest.sections.get("lower", {}).get("target") or manifest.target
    return find_target(name) if name else None


def make_context(dlc: Path, folder: Path, name: str, settings: Settings) -> CompileReport:
    """Compile ``dlc`` into ``folder/name`` and record it in ``folder``'s manifest; atomic.

    Raises InputError for a missing or changed DLC, TargetError when the SoC refuses it.
    """
    from hexaquant.qnn.compile import compile_dlc
    from hexaquant.qnn.integrity import check_integrity, recorded_io

    if not dlc.is_file():
        raise InputError(f"there is no DLC {dlc}; check the path")
    check_integrity(dlc)
    if (folder / NAME).is_file():
        read_manifest(folder)
    target = settings.target
    report = compile_dlc(
        dlc, folder / name, target.model, target.arch, o_level=settings.o_level, vtcm_mb=settings.vtcm_mb
    )
    section = {
        "target": target.name,
        "o_level": settings.o_level,
        "vtcm_mb": settings.vtcm_mb,
        "dlc": dlc.name,
        "io": recorded_io(dlc) or _own_names(report.info.graphs[0]),
        "seconds": round(report.seconds, 3),
    }
    amend_manifest(folder, files=[name], sections={f"context {name}": section})
    return report


def _own_names(graph: GraphRecord) -> dict[str, list[list[str]]]:
    """The binary's own names and order, in the form of NativeIo.names."""
    return {
        "inputs": [[tensor.name, tensor.name] for tensor in graph.inputs],
        "outputs": [[tensor.name, tensor.name] for tensor in graph.outputs],
    }
