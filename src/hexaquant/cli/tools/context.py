"""DLCs to a context binary for the programs: which SoC, names of graphs, inputs and outputs, entry in the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hexaquant.core.errors import InputError
from hexaquant.folder.manifest import NAME, amend_manifest, read_manifest, sha256_of
from hexaquant.htp.soc import Target, find_target

if TYPE_CHECKING:
    from hexaquant.qnn.compile import CompileReport
    from hexaquant.qnn.profile import Level
    from hexaquant.qnn.records import GraphRecord


@dataclass(frozen=True)
class GraphSettings:
    """How to compile a graph. ``vtcm_mb`` None: all that the SoC has."""

    o_level: int = 3
    vtcm_mb: int | None = None


def choose_targets(dlcs: Sequence[Path], said: str | None, configured: Sequence[Target]) -> list[Target]:
    """The SoCs that the command line (names with commas between) and the config file agree on.

    Where neither names one: the SoC that the DLCs were made for. Raises InputError when they disagree, or when nobody
    says which.
    """
    named = list(dict.fromkeys(find_target(one) for one in (said or "").split(",") if one.strip()))
    if named and configured and set(named) != set(configured):
        raise InputError(f"the command line says {_names(named)}, the config file {_names(configured)}; correct one")
    if named or configured:
        return named or list(dict.fromkeys(configured))
    recorded = {find_target(name) for name in map(_recorded_target, dlcs) if name}
    if len(recorded) != 1 or not all(map(_recorded_target, dlcs)):
        files = ", ".join(dlc.name for dlc in dlcs)
        raise InputError(f"nothing says which SoC to compile {files} for; give --target_soc_model, e.g. sm8650")
    return list(recorded)


def _names(targets: Sequence[Target]) -> str:
    return ", ".join(target.name for target in targets)


def _recorded_target(dlc: Path) -> str:
    """What the manifest beside the DLC says that it was lowered for; empty where it says nothing."""
    if not (dlc.parent / NAME).is_file():
        return ""
    manifest = read_manifest(dlc.parent)
    if dlc.name not in manifest.files:
        return ""
    return manifest.context(dlc.name).target or manifest.lowering.target or manifest.target


def graph_names(dlcs: Sequence[Path]) -> dict[str, Path]:
    """Name of the graph in the context -> its DLC: the file's stem, as Qualcomm's converters name graphs.

    Raises InputError for a DLC that does not exist and for two of one name.
    """
    from hexaquant.qnn.safe_names import safe_name

    found: dict[str, Path] = {}
    for dlc in dlcs:
        if not dlc.is_file():
            raise InputError(f"there is no DLC {dlc}; check the path")
        name = safe_name(dlc.stem)
        if name in found:
            raise InputError(f"{found[name]} and {dlc} would both be the graph '{name}'; rename one file")
        found[name] = dlc
    return found


def make_context(
    graphs: Mapping[str, Path],
    folder: Path,
    name: str,
    target: Target,
    settings: Mapping[str, GraphSettings] | None = None,
    profiling: Level | None = None,
    share_weights: bool = False,
    check: bool = False,
) -> CompileReport:
    """Compile ``graphs`` (name -> DLC) into ``folder/name`` and record it in ``folder``'s manifest; atomic.

    ``share_weights``: see compile_graphs; ``check``: hold each graph against what its converter expects of it, where
    that stands beside the DLC (the emulator cannot load a binary with shared weights, so that it is not looked at).

    Raises InputError for a changed DLC, TargetError when the SoC refuses a graph or computes something else.
    """
    from hexaquant.folder.manifest import check_integrity
    from hexaquant.qnn.compile import GraphSource, compile_graphs

    if (folder / NAME).is_file():
        read_manifest(folder)
    sources = []
    chosen = {}
    for graph, dlc in graphs.items():
        check_integrity(dlc)
        chosen[graph] = (settings or {}).get(graph, GraphSettings())
        sources.append(GraphSource(dlc, graph, chosen[graph].o_level, chosen[graph].vtcm_mb))
    report = compile_graphs(
        sources, folder / name, target.model, target.arch, profiling=profiling, share_weights=share_weights
    )
    records = {graph.name: graph for graph in report.info.graphs}
    entries = {graph: _entry(dlc, chosen[graph], records[graph]) for graph, dlc in graphs.items()}
    section: dict[str, Any] = {"target": target.name, "seconds": round(report.seconds, 3), "graphs": entries}
    if check and not share_weights:
        _check(folder / name, graphs, section, target)
    amend_manifest(folder, files=[name], sections={f"context {name}": section})
    return report


def _check(binary: Path, graphs: Mapping[str, Path], section: dict[str, Any], target: Target) -> None:
    """Run each graph on what is kept beside its DLC; a ``binary`` that computes something else goes away."""
    from hexaquant.analysis.self_check import kept_expected
    from hexaquant.api.check_binary import apart, check_binary
    from hexaquant.core.errors import TargetError

    found = {name: kept_expected(dlc, sha256_of(dlc)) for name, dlc in graphs.items()}
    try:
        with apart(binary, {f"context {binary.name}": section}) as copy:
            for graph, expected in found.items():
                if expected is not None:
                    check_binary(copy, expected, target, graph=graph)
    except TargetError:
        binary.unlink(missing_ok=True)
        raise


def _entry(dlc: Path, settings: GraphSettings, graph: GraphRecord) -> dict[str, Any]:
    from hexaquant.folder.manifest import recorded_io

    io = recorded_io(dlc) or _own_names(graph)
    return {"dlc": dlc.name, "o_level": settings.o_level, "vtcm_mb": settings.vtcm_mb, "io": io}


def _own_names(graph: GraphRecord) -> dict[str, list[list[str]]]:
    """The binary's own names and order, in the form of NativeIo.names."""
    return {
        "inputs": [[tensor.name, tensor.name] for tensor in graph.inputs],
        "outputs": [[tensor.name, tensor.name] for tensor in graph.outputs],
    }
