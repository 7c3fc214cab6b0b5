"""hq.verify: measure an artifact folder on the target and write verify.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hexaquant.analysis.metrics import Metric, find_metric
from hexaquant.analysis.verify import verify, write_report
from hexaquant.api.artifacts import DLC, ENCODINGS, MODEL, QDQ, REFERENCE, load_quantized, open_folder
from hexaquant.api.compile import binary_name
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.io.data import open_data
from hexaquant.io.manifest import amend_manifest, verify_files
from hexaquant.sim.model import QuantizedModel
from hexaquant.targets.soc import Target, find_target

REPORT = "verify.json"


def verify_folder(
    folder: str | Path,
    data: Any,
    *,
    target: str | Target | None = None,
    metric: str | Metric | None = "top1",
    limit: int | None = None,
    workers: int | None = None,
    model: QuantizedModel | None = None,
    note: str = "",
    events: Events | None = None,
) -> dict[str, Any]:
    """The report that is also written to ``folder``/verify.json.

    ``data``: evaluation samples, with labels where ``metric`` shall count; ``model``: the simulation, when it is
    already in memory; ``note``: goes into the report (e.g. where the data came from).
    """
    out, manifest = open_folder(folder)
    soc = find_target(target or manifest.target)
    binary = out / binary_name(soc)
    if not binary.is_file():
        raise InputError(f"{binary} does not exist: run hexaquant compile {out} --target {soc.name} first")
    verify_files(out, [REFERENCE, binary.name])
    name, function = (None, None) if metric is None else find_metric(metric)
    simulation = model or load_quantized(out)
    dataset = open_data(data, simulation.source_graph)
    result = verify(
        simulation,
        out / REFERENCE,
        binary,
        dataset,
        metric=function,
        limit=limit,
        workers=workers,
        cache=out / ".state" / "target",
        events=events,
    )
    report: dict[str, Any] = {
        "samples": result.samples,
        "target": soc.name,
        "scheme": manifest.scheme,
        "data": dataset.source + (f" ({note})" if note else ""),
        "outputs": result.outputs(),
        "metric": name,
        "metrics": result.scores(),
        "flips": result.flips(),
        "artifacts": artifact_sizes(out, binary),
    }
    write_report(out / REPORT, report)
    amend_manifest(out, files=[REPORT])
    return report


def artifact_sizes(out: Path, binary: Path) -> dict[str, dict[str, Any]]:
    """Path and size in bytes of each artifact."""
    files = {"onnx": out / MODEL, "encodings": out / ENCODINGS, "qdq": out / QDQ, "dlc": out / DLC, "binary": binary}
    return {kind: {"path": str(p), "bytes": p.stat().st_size} for kind, p in files.items() if p.is_file()}
