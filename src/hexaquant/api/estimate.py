"""hq.estimate: latency before the device, from Qualcomm's own compile-time estimates, for the SoCs that have one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hexaquant.core.atomic import write_text
from hexaquant.core.errors import InputError, TargetError
from hexaquant.core.events import Events
from hexaquant.folder.artifacts import DLC, Folder
from hexaquant.folder.manifest import NAME, amend_manifest, check_integrity, read_manifest, sha256_of, verify_files
from hexaquant.htp.soc import find_target, target_of_model
from hexaquant.qnn.compile import GraphSource, compile_graphs
from hexaquant.qnn.estimate import ESTIMATED_SOCS, Estimate, estimates_of

INFO = "info.json"
DEFAULT_SOC = "sa8255p"
NOTE = "compile-time estimates of Qualcomm's library for the SoC named, not measurements and not of any other SoC"


def estimate(
    model: str | Path,
    socs: Sequence[str] = (DEFAULT_SOC,),
    o_levels: Sequence[int] = (1, 2, 3),
    events: Events | None = None,
) -> dict[str, Any]:
    """The document that is also written to info.json of an artifact folder, or to <dlc>.info.json beside a lone DLC.

    ``socs``: names or Qualcomm's numbers. Raises InputError for a SoC without estimates and for files that are missing
    or changed, TargetError when the SoC refuses the graph.
    """
    dlc, file = _files(Path(model))
    models = [soc_number(soc) for soc in socs]
    wanted = [(soc, level) for soc in models for level in dict.fromkeys(o_levels)]
    found: list[Estimate] = []
    name = graph_name(dlc)
    for soc, level in (events or Events()).track(wanted, "estimate"):
        found += estimate_dlc(dlc, soc, level, name)
    rows = [{"soc": soc_name(one.soc_model), **asdict(one)} for one in found]
    document = {"kind": "estimates", "dlc": dlc.name, "sha256": sha256_of(dlc), "note": NOTE, "estimates": rows}
    write_text(file, json.dumps(document, indent=1))
    if (dlc.parent / NAME).is_file():
        amend_manifest(dlc.parent, files=[file.name], sections={f"estimate {dlc.name}": rows})
    return {**document, "file": str(file)}


def estimate_dlc(dlc: Path, soc_model: int, o_level: int, name: str | None = None) -> list[Estimate]:
    """The estimate of each graph of ``dlc``; ``name``: what its only one is called in them.

    Raises TargetError when the library gives none.
    """
    with tempfile.TemporaryDirectory(prefix="hexaquant-estimate-") as folder:
        binary = Path(folder) / "model.bin"
        report = compile_graphs([GraphSource(dlc, name, o_level)], binary, soc_model, None, profiling="basic")
    found = estimates_of(report.stages, soc_model, o_level)
    if not found:
        raise TargetError(f"{dlc.name}: the library gives no estimate for {soc_name(soc_model)}; name another SoC")
    return found


def graph_name(dlc: Path) -> str | None:
    """What its only graph is called in reports: the file's stem. None where the DLC holds several."""
    from hexaquant.qnn.inspect import inspect_dlc
    from hexaquant.qnn.safe_names import safe_name

    return safe_name(dlc.stem) if len(inspect_dlc(dlc).graphs) == 1 else None


def soc_number(soc: str) -> int:
    """Qualcomm's number of ``soc`` (a name or the number). Raises InputError for one without estimates."""
    number = int(soc) if soc.isdigit() else find_target(soc).model
    if number not in ESTIMATED_SOCS:
        known = ", ".join(map(soc_name, ESTIMATED_SOCS))
        raise InputError(f"the library makes no estimates for {soc}, only for {known}; name one of these")
    return number


def soc_name(soc_model: int) -> str:
    """ "sa8255p (SoC model 52)"; the number alone where this package has no name for it."""
    target = target_of_model(soc_model)
    return f"SoC model {soc_model}" if target is None else f"{target.name} (SoC model {soc_model})"


def _files(path: Path) -> tuple[Path, Path]:
    """The DLC, and where its estimates go."""
    if path.is_dir():
        out = Folder.open(path).path
        if not (out / DLC).is_file():
            raise InputError(f"{out} has no {DLC} yet; run hexaquant compile {out} first")
        verify_files(out, [DLC])
        return out / DLC, out / INFO
    if not path.is_file():
        raise InputError(f"there is no file or folder {path}; check the path")
    if path.suffix != ".dlc":
        raise InputError(f"{path} is no DLC and no artifact folder; estimates are made from a DLC")
    if (path.parent / NAME).is_file():
        read_manifest(path.parent)
    check_integrity(path)
    return path, path.with_name(f"{path.name}.{INFO}")
