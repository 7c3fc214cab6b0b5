"""hq.compile: from an exported folder to a DLC and one context binary for each SoC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as oir

from hexaquant.api.artifacts import DLC, QDQ, open_folder
from hexaquant.core.events import Events
from hexaquant.io.manifest import amend_manifest, verify_files
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import freeze_batch
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.lower import lower
from hexaquant.targets.soc import Target, find_target

STATIC = ".state/static.qdq.onnx"


@dataclass(frozen=True)
class Compiled:
    """What compile wrote: the DLC and, by SoC name, the context binaries."""

    folder: Path
    dlc: Path
    binaries: dict[str, Path]


def binary_name(target: Target) -> str:
    """File name of the context binary for ``target``."""
    return f"model.{target.name}.bin"


def compile_folder(
    folder: str | Path,
    target: str | Target | Sequence[str | Target] | None = None,
    *,
    batch: int = 1,
    o_level: int = 3,
    events: Events | None = None,
) -> Compiled:
    """Lower ``folder``'s QDQ model and compile it for ``target`` (default: the one it was quantized for).

    Dimensions that are still symbolic become ``batch``: the NPU needs static shapes. Raises TargetError naming the
    operators that the target refuses, with the library's reason.
    """
    out, manifest = open_folder(folder)
    verify_files(out, [QDQ])
    targets = _targets(target, manifest.target)
    log = events or Events()
    graph = freeze_batch(Graph(oir.load(out / QDQ), str(out / QDQ)), batch)
    (out / ".state").mkdir(exist_ok=True)
    graph.save(out / STATIC)
    first = targets[0]
    log.note("lower", f"lowering for {first}")
    report = lower(out / STATIC, out / DLC, first.model, first.arch)
    sections: dict[str, Any] = {"lower": {"target": first.name, "seconds": round(report.seconds, 3), "batch": batch}}
    binaries: dict[str, Path] = {}
    for soc in log.track(targets, "compile"):
        done = compile_dlc(out / DLC, out / binary_name(soc), soc.model, soc.arch, o_level=o_level)
        binaries[soc.name] = done.path
        sections[f"compile {soc.name}"] = {"o_level": o_level, "seconds": round(done.seconds, 3)}
    names = {onnx: lowered for lowered, onnx in report.names.items()}
    amend_manifest(out, files=[DLC, *(path.name for path in binaries.values())], sections=sections, names=names)
    return Compiled(out, out / DLC, binaries)


def _targets(target: str | Target | Sequence[str | Target] | None, default: str) -> list[Target]:
    if target is None:
        return [find_target(default)]
    if isinstance(target, str | Target):
        return [find_target(target)]
    return [find_target(one) for one in target]
