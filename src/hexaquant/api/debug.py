"""hq.debug: FP32 against simulation against target, tensor by tensor, and the layer that parts them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx_ir as oir
import torch

from hexaquant.analysis.debug_words import DebugFinding
from hexaquant.analysis.debugger import DebugMode, TensorErrors, compare_tensors
from hexaquant.analysis.diagnosis import Evidence, diagnose
from hexaquant.analysis.excess_noise import collect_weight_noise
from hexaquant.analysis.float_values import find_float_values
from hexaquant.analysis.intermediates import Intermediates
from hexaquant.analysis.places import Place, find_places
from hexaquant.analysis.sensitivity import make_study
from hexaquant.analysis.statistics import collect_meters
from hexaquant.analysis.unlike_operands import find_unlike
from hexaquant.api.analyze import float_networks
from hexaquant.core import html
from hexaquant.core.atomic import write_text
from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import EncodingError, InputError, TargetError, WorkerError
from hexaquant.core.events import Events
from hexaquant.folder.artifacts import ENCODINGS, MODEL, QDQ, Folder, put_constants_on_grid
from hexaquant.folder.manifest import amend_manifest, sha256_of
from hexaquant.io.data import open_data
from hexaquant.io.encodings_file import read_encodings
from hexaquant.io.image_folder import ImageSpec
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.io.qdq_writer import to_qdq
from hexaquant.ir.fingerprint import fingerprint
from hexaquant.ir.graph import Graph
from hexaquant.sim.model import QuantizedModel

REPORT = "debug.json"
FORMAT = 1
TASK = "debug"


@dataclass(frozen=True)
class DebugReport:
    """``tensors``: (place, errors) in network order; ``encodings``: the file whose encodings were looked at;
    ``without_target``: why there are no figures of the target, else ""."""

    folder: Path
    mode: DebugMode
    samples: int
    encodings: str
    tensors: tuple[tuple[Place, TensorErrors], ...]
    first_target_leaves_simulation: str | None
    first_simulation_leaves_fp32: str | None
    findings: tuple[DebugFinding, ...]
    without_target: str = ""

    def _repr_html_(self) -> str:
        """For notebooks: the findings."""
        head = html.heading(f"{len(self.tensors)} tensors on {self.samples} samples, {len(self.findings)} findings")
        rows = [(f.origin or f.layer, f.text, f.fix) for f in self.findings[: html.LIMIT]]
        return head + html.table(["layer", "finding", "fix"], rows)

    def to_dict(self) -> dict[str, Any]:
        """The document of debug.json."""
        return {
            "format": FORMAT,
            "mode": self.mode,
            "samples": self.samples,
            "encodings": self.encodings,
            "without_target": self.without_target,
            "tensors": [_row(place, errors, not self.without_target) for place, errors in self.tensors],
            "first_target_leaves_simulation": self.first_target_leaves_simulation,
            "first_simulation_leaves_fp32": self.first_simulation_leaves_fp32,
            "findings": [finding.to_json() for finding in self.findings],
        }


def _row(place: Place, errors: TensorErrors, on_target: bool) -> dict[str, Any]:
    where = {"name": errors.name, "layer": place.layer, "origin": place.origin, "op": place.op, "bits": errors.bits}
    return where | errors.figures(on_target)


def debug(
    folder: str | Path,
    data: Any,
    *,
    mode: DebugMode = "cumulative",
    samples: int = 4,
    encodings: str | Path | None = None,
    target: bool = True,
    workers: int | None = None,
    images: ImageSpec | None = None,
    events: Events | None = None,
) -> DebugReport:
    """Find the layer that makes the artifact ``folder`` inaccurate, on the first ``samples`` of ``data``.

    ``mode``: whether the figures are of whole runs or of each layer on given inputs; ``encodings``: a file to look at
    instead of the folder's, which is taken as it is, changed or not; ``target``: compare with the emulator too, where
    it takes the network. Writes debug.json. Raises InputError for folders without their FP32 network.
    """
    if mode not in get_args(DebugMode):
        raise InputError(f"there is no mode '{mode}': give cumulative or isolated")
    opened = Folder.open(folder)
    out = opened.path
    log = events or Events()
    model, given, source = _load(opened, encodings)
    inputs = _samples(data, model, samples, images)
    floats = find_float_values(model, *float_networks(opened), inputs[0])
    study = make_study(model, floats, None)
    meters = collect_meters(model, floats, study.sites, log.track(inputs, "statistics", len(inputs)))
    weights = collect_weight_noise(model, floats, study.sites, log.track(inputs, "weights", len(inputs)))
    errors, refused = _compare(out, model, floats, inputs, mode, target, workers, log)
    unlike = find_unlike(model.source_graph, model.plan, inputs)
    places = find_places(model.source_graph, model.plan)
    found = diagnose(Evidence(model, study.sites, places, meters, weights, errors, given, unlike))
    report = DebugReport(
        out,
        mode,
        len(inputs),
        source,
        tuple((places[e.name], e) for e in errors),
        found.first_target_leaves_simulation,
        found.first_simulation_leaves_fp32,
        found.findings,
        refused,
    )
    write_text(out / REPORT, json.dumps(report.to_dict(), indent=1, allow_nan=False))
    amend_manifest(out, files=[REPORT])
    return report


def _load(folder: Folder, file: str | Path | None) -> tuple[QuantizedModel, dict[str, Encoding], str]:
    """(the simulation, encodings as given, where these came from). Files are read as they are, changed or not."""
    out = folder.path
    graph = Graph(oir.load(out / MODEL), str(out / MODEL))
    _, held = from_qdq(Graph(oir.load(out / QDQ), str(out / QDQ)))
    path = out / ENCODINGS if file is None else Path(file)
    recorded = folder.manifest.files.get(ENCODINGS)
    if file is not None or (recorded is not None and path.is_file() and sha256_of(path) != recorded.sha256):
        read = read_encodings(path)
        read.check_against(graph)
        given = held | read.resolve(graph).all
        source = str(path)
    else:
        given = held
        source = str(out / QDQ)
    model = QuantizedModel(graph, folder.plan)
    missing = model.set_encodings(given)
    if missing:
        raise EncodingError(f"{source} has no encoding for '{missing[0]}': export the model again")
    return model, given, source


def _samples(data: Any, model: QuantizedModel, count: int, images: ImageSpec | None) -> list[dict[str, torch.Tensor]]:
    """The first ``count`` samples, in batches of one."""
    dataset = open_data(data, model.source_graph, images)
    taken = islice(dataset.batches(1), count)
    return [{n: torch.from_numpy(np.ascontiguousarray(a)) for n, a in batch.items()} for batch in taken]


def _compare(
    out: Path,
    model: QuantizedModel,
    floats: Mapping[str, torch.Tensor],
    inputs: list[dict[str, torch.Tensor]],
    mode: DebugMode,
    target: bool,
    workers: int | None,
    log: Events,
) -> tuple[list[TensorErrors], str]:
    """(errors, why there is no target)."""
    reason = "not asked for"
    if target:
        try:
            with _on_target(out, model, workers) as shown:
                arrays = ({name: value.numpy() for name, value in sample.items()} for sample in inputs)
                runs = shown.run(log.track(arrays, TASK, len(inputs)))
                return compare_tensors(model, floats, inputs, runs, mode), ""
        except (TargetError, WorkerError) as error:
            reason = str(error)
            log.warn(TASK, f"FP32 is compared with the simulation alone: {reason}")
    return compare_tensors(model, floats, log.track(inputs, TASK, len(inputs)), None, mode), reason


@contextmanager
def _on_target(out: Path, model: QuantizedModel, workers: int | None) -> Iterator[Intermediates]:
    """The network with its inner tensors shown; the compiled copy of the last call is kept."""
    encodings = model.encodings()
    graph = model.exported_graph()
    put_constants_on_grid(graph, encodings)
    qdq = to_qdq(graph, encodings, bypass=model.bypassed())
    soc = model.plan.target
    folder = out / ".state" / "debug" / f"{soc.name}-{fingerprint(qdq)[:16]}"
    if not folder.is_dir():
        shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with Intermediates(qdq, soc, folder, workers, reuse=True) as shown:
        yield shown
