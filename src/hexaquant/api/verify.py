"""hq.verify: measure an artifact folder on the target and write verify.json."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hexaquant.analysis.compare import Comparison
from hexaquant.analysis.data_check import doubts, look_at, out_of_range
from hexaquant.analysis.metrics import Metric, find_metric
from hexaquant.analysis.verify import VerifyReport, verify, write_report
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
ENOUGH = 20
"""Labelled samples from which a score at chance means something."""
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
    if dataset.made:
        (events or Events()).note("verify", f"{dataset.source}: {dataset.made}")
    looks = look_at(dataset)
    strange = [*doubts(looks, "verify"), *out_of_range(looks, simulation.encodings())]
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
    for sentence in [*strange, *absurd_results(report, strange)]:
        (events or Events()).warn("verify", sentence, doubt=True)
    return report


def departs(report: Mapping[str, Any]) -> bool:
    """Whether the target computes an output otherwise than the simulation, by more than coarse kernels would."""
    found = [(output["sim_vs_target_sqnr_db"], output["sim_vs_target_max_lsb"]) for output in report["outputs"]]
    return any(db is not None and db < LEAST_DB and (steps is None or steps > 2) for db, steps in found)


def absurd_results(report: Mapping[str, Any], strange: Sequence[str] = ()) -> Iterator[str]:
    """What is wrong with the figures of ``report`` although every step went through: one sentence each.

    ``strange``: what was said of the data, which then is the likeliest cause.
    """
    yield from _chance(report)
    for output in report["outputs"]:
        yield from _bad_output(output, strange)
        for part in output.get("slices", ()):
            db = part["fp32_vs_target_sqnr_db"]
            dead = part["all_zero_on_target"]
            if dead or (db is not None and db < LEAST_DB):
                found = "is all zero" if dead else f"has {db:.1f} dB"
                yield (
                    f"'{part['name']}' ({part['start']} to {part['stop'] - 1} of output '{output['name']}', up to "
                    f"{part['peak']:g}) {found} on the target, for {part['concat']} joins it with larger values on one "
                    "grid: --split-outputs makes them outputs of their own"
                )


def _bad_output(output: Mapping[str, Any], strange: Sequence[str]) -> Iterator[str]:
    db, own, faithful = (output[f"{pair}_sqnr_db"] for pair in ("fp32_vs_target", "fp32_vs_sim", "sim_vs_target"))
    if output["all_zero_in_fp32"]:
        yield f"output '{output['name']}' is all zero in FP32: data or weights are not those of this network"
    if db is None or db >= LEAST_DB:
        return
    if output["all_zero_on_target"]:
        found = "is all zero on the target"
    else:
        found = f"has {db:.1f} dB SQNR against FP32"
    if strange:
        cause = "most likely because of the data (above)"
    elif faithful is not None and faithful < LEAST_DB <= (math.inf if own is None else own):
        cause = "the target computes something else than the simulation: hexaquant debug names the first such layer"
    else:
        cause = "the grids are too coarse: try --scheme w8a16 or --recipe best; hexaquant debug names the worst layers"
    yield f"output '{output['name']}' {found}; {cause}"


def _chance(report: Mapping[str, Any]) -> Iterator[str]:
    """FP32 that is right no more often than by chance: then nothing else means anything."""
    score = report["metrics"]["fp32"]
    samples = report["samples"]
    classes = report["outputs"][0]["values"] if report["outputs"] else 0
    counted = report["metric"] == "top1" and score is not None and samples >= ENOUGH and classes > 1
    if counted and score <= max(1.5 / classes, 1 / samples):
        yield (
            f"FP32 itself has the right class in {100 * score:.1f} % of {samples} samples, no more than by chance "
            f"among {classes} classes: labels or preprocessing do not fit the network"
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
