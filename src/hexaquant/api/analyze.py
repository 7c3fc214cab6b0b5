"""hq.analyze: which quantizer costs how much, and what the values of each tensor look like; writes analysis.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir
import torch

from hexaquant.analysis.float_values import find_float_values
from hexaquant.analysis.metrics import Metric, find_metric
from hexaquant.analysis.places import Place, find_places
from hexaquant.analysis.sensitivity import MODES, Figure, Kind, Study, Task, combine, make_study
from hexaquant.analysis.statistics import TensorStatistics, collect_meters
from hexaquant.analysis.sweep import Workers, one_thread, run_sweep
from hexaquant.core import html
from hexaquant.core.atomic import write_text
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.folder.artifacts import FLOAT, MODEL, QDQ, REFERENCE, Folder, load_quantized
from hexaquant.folder.manifest import Manifest, amend_manifest
from hexaquant.folder.resume import step_fingerprint
from hexaquant.io.batches import take_labelled
from hexaquant.io.data import open_data
from hexaquant.io.dataset import sample_hash
from hexaquant.io.image_folder import ImageSpec
from hexaquant.ir.graph import Graph
from hexaquant.ir.input_spec import input_specs, sample_count
from hexaquant.qnn.runtime import available_cores
from hexaquant.sim.model import QuantizedModel

REPORT = "analysis.json"
FORMAT = 1
BATCH = 4
"""Samples of one part of the work: small enough for the caches, and to lose little when a run is killed."""


@dataclass(frozen=True)
class QuantizerSensitivity:
    """One quantizer. ``bits``: or "float16"; ``alone_on``: everything else FP32; ``alone_off``: everything else
    quantized."""

    name: str
    place: Place
    kind: Kind
    bits: int | str
    alone_on: Figure
    alone_off: Figure

    def to_json(self) -> dict[str, Any]:
        where = {"name": self.name, "layer": self.place.layer, "origin": self.place.origin}
        figures = {"alone_on": self.alone_on.to_json(), "alone_off": self.alone_off.to_json()}
        return where | {"kind": self.kind, "bits": self.bits} | figures


@dataclass(frozen=True)
class Analysis:
    """``fp32`` and ``simulation``: the network's own figures; ``tensors``: (place, statistics)."""

    folder: Path
    samples: int
    metric: str | None
    fp32: Figure
    simulation: Figure
    quantizers: tuple[QuantizerSensitivity, ...]
    tensors: tuple[tuple[Place, TensorStatistics], ...]

    def worst(self, count: int = 10) -> list[QuantizerSensitivity]:
        """The quantizers that alone cost most, worst first."""
        known = [q for q in self.quantizers if q.alone_on.sqnr_db is not None]
        return sorted(known, key=lambda q: q.alone_on.sqnr_db or 0.0)[:count]

    def _repr_html_(self) -> str:
        """For notebooks: the quantizers that cost most."""
        head = html.heading(f"{len(self.quantizers)} quantizers on {self.samples} samples, the worst first")
        rows = [
            (q.place.origin or q.place.layer, q.kind, q.bits, f"{q.alone_on.sqnr_db:.1f}")
            for q in self.worst(html.LIMIT)
        ]
        return head + html.table(["layer", "kind", "bits", "alone on, dB"], rows)

    def to_dict(self) -> dict[str, Any]:
        """The document of analysis.json."""
        return {
            "format": FORMAT,
            "samples": self.samples,
            "metric": self.metric,
            "fp32": self.fp32.to_json(),
            "simulation": self.simulation.to_json(),
            "quantizers": [quantizer.to_json() for quantizer in self.quantizers],
            "tensors": [
                {"name": found.name, "layer": place.layer, "origin": place.origin} | found.to_json()
                for place, found in self.tensors
            ],
        }


def analyze(
    folder: str | Path,
    data: Any,
    *,
    metric: str | Metric | None = "top1",
    samples: int = 32,
    workers: Workers | None = None,
    images: ImageSpec | None = None,
    events: Events | None = None,
) -> Analysis:
    """Measure every quantizer of the artifact ``folder`` on the first ``samples`` of ``data``; writes analysis.json.

    ``metric``: as in verify, or None or "sqnr" for SQNR alone; it counts where the data has labels. ``workers``:
    processes (default: one per core) or "ray". An interrupted call goes on where it stopped. Raises InputError for
    folders without their FP32 network and for data that does not fit.
    """
    opened = Folder.open(folder)
    out = opened.path
    log = events or Events()
    name, wanted = (None, None) if metric in (None, "sqnr") else (find_metric(metric)[0], metric)  # type: ignore[arg-type]
    model = load_quantized(out)
    batches, labels = _take(data, model, samples, images)
    with one_thread():
        floats = find_float_values(model, *float_networks(opened), _tensors(batches[0]))
        study = make_study(model, floats, wanted)
        meters = collect_meters(model, floats, study.sites, log.track(batches, "statistics", len(batches)))
    specs = input_specs(model.source_graph)
    tasks = [
        Task(mode, i, batch, labels[i], sample_count(batch, specs)) for i, batch in enumerate(batches) for mode in MODES
    ]
    state = out / ".state" / "analysis" / _fingerprint(opened.manifest, batches, labels, name)[:16]
    results = run_sweep(study, tasks, workers or available_cores(), state, log)
    places = find_places(model.source_graph, model.plan)
    tensors = tuple((places[site.name], meters[site.name].statistics(site.name, site.kind)) for site in study.sites)
    found = _assemble(out, model, study, results, places, tensors, name)
    write_text(out / REPORT, json.dumps(found.to_dict(), indent=1, allow_nan=False))
    amend_manifest(out, files=[REPORT])
    shutil.rmtree(state.parent, ignore_errors=True)
    return found


def _assemble(
    out: Path,
    model: QuantizedModel,
    study: Study,
    results: Mapping[str, dict[str, Any]],
    places: Mapping[str, Place],
    tensors: tuple[tuple[Place, TensorStatistics], ...],
    metric: str | None,
) -> Analysis:
    count = len(results) // len(MODES)
    on, off = ([results[f"{mode}-{i}"] for i in range(count)] for mode in MODES)
    fp32 = combine(off, "fp32")
    simulation = combine(off, "base")
    quantizers = []
    for site in study.sites:
        alone = combine(on, "sites", site.name), combine(off, "sites", site.name)
        bits = _bits(model, site.name)
        quantizers.append(QuantizerSensitivity(site.name, places[site.name], site.kind, bits, *alone))
    samples = sum(result["count"] for result in on)
    return Analysis(
        out, samples, metric if fp32.metric is not None else None, fp32, simulation, tuple(quantizers), tensors
    )


def _bits(model: QuantizedModel, name: str) -> int | str:
    grid = model.quantizers[name].grid
    return str(grid) if grid.is_float else int(grid.bits)


def _take(
    data: Any, model: QuantizedModel, samples: int, images: ImageSpec | None
) -> tuple[list[dict[str, np.ndarray]], list[np.ndarray | None]]:
    """The first ``samples`` in batches of at most BATCH, and their labels."""
    dataset = open_data(data, model.source_graph, images)
    batches = []
    labels = []
    left = samples
    for batch, given in dataset.labelled(BATCH):
        kept, some = take_labelled(batch, given, dataset.specs, slice(0, left))
        batches.append(kept)
        labels.append(some)
        left -= sample_count(kept, dataset.specs)
        if left <= 0:
            break
    return batches, labels


def _tensors(batch: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in batch.items()}


def float_networks(folder: Folder) -> tuple[list[Graph], Graph]:
    """(FP32 networks whose constants may be the model's, best first; the user's FP32 network).

    Raises InputError when the folder does not hold it.
    """
    out = folder.path
    manifest = folder.manifest
    if REFERENCE not in manifest.files:
        raise InputError(f"{out} does not hold its FP32 network {REFERENCE}: quantize the model again")
    held = [name for name in (FLOAT, REFERENCE) if name in manifest.files]
    folder.verify(held)
    graphs = {name: Graph(oir.load(out / name), str(out / name)) for name in held}
    return list(graphs.values()), graphs[REFERENCE]


def _fingerprint(
    manifest: Manifest, batches: Sequence[Mapping[str, np.ndarray]], labels: Sequence[Any], metric: str | None
) -> str:
    """Of everything that decides about the figures."""
    files = {name: manifest.files[name].sha256 for name in (MODEL, QDQ, REFERENCE, FLOAT) if name in manifest.files}
    data = [sample_hash(dict(batch), given).hexdigest() for batch, given in zip(batches, labels, strict=True)]
    return step_fingerprint({"files": files, "data": data, "metric": metric})
