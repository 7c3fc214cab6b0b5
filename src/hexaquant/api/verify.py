"""hq.verify: measure an artifact folder on the target and write verify.json."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hexaquant.analysis.compare import Comparison
from hexaquant.analysis.metrics import Metric, find_metric
from hexaquant.analysis.verify import verify, write_report
from hexaquant.analysis.verify_report import VerifyReport
from hexaquant.api.quantize import RANDOM
from hexaquant.bundle.remote.pool import DevicePool
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.folder.artifacts import DLC, ENCODINGS, MODEL, QDQ, REFERENCE, Folder, load_quantized
from hexaquant.folder.manifest import Manifest, amend_manifest
from hexaquant.htp.soc import Target, find_target
from hexaquant.io.data import open_data
from hexaquant.io.image_folder import ImageSpec
from hexaquant.sim.model import QuantizedModel

REPORT = "verify.json"
LEAST_DB = 10.0
"""SQNR below which a result is said to be bad."""


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
    images: ImageSpec | None = None,
    device: DevicePool | None = None,
    events: Events | None = None,
) -> VerifyReport:
    """The report that is also written to ``folder``/verify.json.

    ``data``: evaluation samples, with labels where ``metric`` shall count; ``model``: the simulation, when it is
    already in memory; ``note``: goes into the report (e.g. where the data came from); ``images``: the preprocessing of
    an image folder; ``device``: runs the samples instead of this PC (api/remote.py).
    """
    opened = Folder.open(folder)
    out = opened.path
    manifest = opened.manifest
    soc = opened.target if target is None else find_target(target)
    binary = _current_binary(opened, soc)
    name, function = (None, None) if metric is None else find_metric(metric)
    simulation = model or load_quantized(out)
    dataset = open_data(data, simulation.source_graph, images)
    result = verify(
        simulation,
        out / REFERENCE,
        binary,
        dataset,
        metric=function,
        limit=limit,
        workers=workers,
        soc=soc.model,
        batch=manifest.compilation(soc.name).batch,
        cache=out / ".state" / _cache_name(device),
        device=device,
        events=events,
    )
    about = {
        "samples": result.samples,
        "target": soc.name,
        "device": None if device is None else str(device.session.address),
        "data": dataset.source + "".join(f" ({text})" for text in (dataset.note, note) if text),
        "metric": name,
    }
    report = VerifyReport(about | _figures(result) | _folder_record(out, manifest, binary))
    write_report(out / REPORT, report)
    amend_manifest(out, files=[REPORT])
    for sentence in absurd_results(report):
        (events or Events()).warn("verify", sentence)
    return report


def absurd_results(report: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the figures of ``report`` although every step went through: one sentence each."""
    for output in report["outputs"]:
        for part in output.get("slices", ()):
            db, dead = part["fp32_vs_target_sqnr_db"], part["all_zero_on_target"]
            if dead or (db is not None and db < LEAST_DB):
                found = "is all zero" if dead else f"has {db:.1f} dB"
                yield (
                    f"'{part['name']}' ({part['start']} to {part['stop'] - 1} of output '{output['name']}', up to "
                    f"{part['peak']:g}) {found} on the target, for {part['concat']} joins it with larger values on one "
                    "grid: --split-outputs makes them outputs of their own"
                )


def _figures(result: Comparison) -> dict[str, Any]:
    return {"outputs": result.outputs(), "metrics": result.scores(), "flips": result.flips()}


def _folder_record(out: Path, manifest: Manifest, binary: Path) -> dict[str, Any]:
    """What the report says of the folder itself."""
    calibration = manifest.quantization.data
    return {
        "scheme": manifest.scheme,
        "calibration_data": calibration,
        "random_data": calibration == RANDOM,
        "artifacts": artifact_sizes(out, binary),
    }


def _cache_name(device: DevicePool | None) -> str:
    """Folder of the target's outputs: those of a device are not the emulator's."""
    return "target" if device is None else "target-" + re.sub(r"[^\w.-]", "_", str(device.session.address))


def _current_binary(folder: Folder, soc: Target) -> Path:
    """The binary for ``soc``. Raises InputError when there is none, when files are damaged, and when it was compiled
    from an earlier quantization than the folder now holds.
    """
    binary = folder.binary(soc)
    folder.verify([REFERENCE, binary.name])
    made_from = folder.manifest.compilation(soc.name).qdq
    if made_from is not None and made_from != folder.manifest.files[QDQ].sha256:
        command = f"hexaquant compile {folder.path} --target {soc.name}"
        raise InputError(f"{binary} was compiled from an earlier {QDQ}: run {command} again")
    return binary


def artifact_sizes(out: Path, binary: Path) -> dict[str, dict[str, Any]]:
    """Path and size in bytes of each artifact."""
    files = {"onnx": out / MODEL, "encodings": out / ENCODINGS, "qdq": out / QDQ, "dlc": out / DLC, "binary": binary}
    return {kind: {"path": str(p), "bytes": p.stat().st_size} for kind, p in files.items() if p.is_file()}
