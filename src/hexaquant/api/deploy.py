"""hq.deploy: everything, from a network to an accuracy measured on the target.

Steps that were made from the same inputs are kept (folder/resume.py): a second run on the same folder quantizes and
compiles only what changed, and the target runs only samples that it has not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hexaquant.analysis.metrics import Metric, find_metric
from hexaquant.api import correct_on_target as on_target
from hexaquant.api.compile import check_compiled, compile_folder
from hexaquant.api.quantize import quantize_graph
from hexaquant.api.report import report_if_installed
from hexaquant.api.settings import GivenOverrides, Settings, resolve
from hexaquant.api.verify import departs, verify_folder
from hexaquant.core.events import Events
from hexaquant.folder.artifacts import ENCODINGS, MODEL, QDQ, REFERENCE, Exported, export_encodings, export_model, kept
from hexaquant.folder.manifest import read_manifest
from hexaquant.folder.resume import KEY, is_current, is_trained, quantization_fingerprint, step_fingerprint
from hexaquant.frontends import load
from hexaquant.htp.scheme import DEFAULT_SCHEME, Scheme
from hexaquant.htp.soc import DEFAULT_TARGET, Target
from hexaquant.io.data import open_data
from hexaquant.io.dataset import Dataset
from hexaquant.io.image_folder import ImageSpec
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import float_network, notes_of
from hexaquant.ptq.apply import State
from hexaquant.ptq.recipe import Recipe
from hexaquant.sim.from_file import note_of_kept
from hexaquant.sim.model import QuantizedModel

BATCH_SIZE = 16
"""Samples that calibration runs at once where the graph's batch is free."""

HELD_OUT = "held-out fifth of the calibration data"


@dataclass(frozen=True)
class Quantized:
    """``exported``: the files; ``model``: the simulation, None when the folder was up to date (``reused``)."""

    exported: Exported
    model: QuantizedModel | None

    @property
    def reused(self) -> bool:
        return self.model is None


def quantize_folder(
    graph: Graph,
    data: Dataset,
    out: str | Path,
    settings: Settings,
    *,
    force: bool = False,
    events: Events | None = None,
) -> Quantized:
    """Quantize ``graph`` and export it to ``out``, or keep what ``out`` holds when it was made from the same."""
    folder = Path(out)
    log = events or Events()
    overrides = dict(settings.overrides.document) or None
    wanted = quantization_fingerprint(
        graph,
        data,
        target=settings.target,
        scheme=settings.scheme,
        recipe=settings.recipe,
        overrides=overrides,
        batch_size=BATCH_SIZE,
    )
    if settings.correct_on_target:
        wanted = step_fingerprint({"quantized": wanted, "correct_on_target": asdict(on_target.OnTarget())})
    if not force and is_current(folder, "quantization", wanted, [MODEL, QDQ, ENCODINGS, REFERENCE]):
        log.note("quantize", f"{folder} holds this quantized model already; kept (--force makes it again)")
        return Quantized(_in_version(folder, settings.encodings_version), None)
    if is_trained(folder):
        log.warn("quantize", f"{folder} held a trained network (hexaquant qat); it is quantized anew, without training")
    state = State(folder / ".state" / "quantize.safetensors", wanted)
    reference = float_network(load(graph))
    model = quantize_graph(reference, data, settings, batch_size=BATCH_SIZE, events=events, state=state)
    if settings.correct_on_target:
        done = on_target.correct_on_target(model, data, graph, events=events)
        model.steps += ({"step": "correct on target", "samples": done.samples, "details": done.to_json()},)
    kept_weights = note_of_kept(model)
    if kept_weights is not None:
        log.note("quantize", kept_weights)
    exported = export_model(
        model,
        folder,
        encodings_version=settings.encodings_version,
        reference=model.reference,
        overrides=overrides,
        steps=list(model.steps),
        recipe=model.recipe,
        made_from={
            "data": data.source,
            "notes": notes_of(reference) + ([kept_weights] if kept_weights else []),
            KEY: wanted,
        },
    )
    state.path.unlink(missing_ok=True)
    return Quantized(exported, model)


def _in_version(folder: Path, version: str) -> Exported:
    """The folder's files, with the encodings file in ``version``."""
    lost: tuple[str, ...] = ()
    if read_manifest(folder).quantization.encodings_version != version:
        lost = export_encodings(folder, version).lost
    return kept(folder, lost)


def deploy(
    model: Any,
    data: Any,
    out: str | Path,
    *,
    eval_data: Any = None,
    target: str | Target = DEFAULT_TARGET,
    scheme: str | Scheme = DEFAULT_SCHEME,
    recipe: str | Recipe = "fast",
    overrides: GivenOverrides = None,
    metric: str | Metric | None = "top1",
    limit: int | None = None,
    workers: int | None = None,
    encodings_version: str = "1.0.0",
    example_inputs: tuple[Any, ...] | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    images: ImageSpec | None = None,
    force: bool = False,
    correct_on_target: bool = False,
    note: str = "",
    report: bool = True,
    events: Events | None = None,
) -> dict[str, Any]:
    """Quantize, export, compile and verify; returns the report of :func:`verify_folder`.

    Without ``eval_data`` a held-out fifth of ``data`` verifies, and the report says so. ``images``: preprocessing of
    image folders; ``shapes``: input shapes; ``force``: make again what ``out`` holds already;
    ``correct_on_target``: run the result on the target and correct the biases by it; ``report``: also write
    report.html, if the extra is installed.
    """
    settings = resolve(target, scheme, recipe, overrides, encodings_version, correct_on_target)
    if metric is not None:
        _, metric = find_metric(metric)
    graph = float_network(load(model, example_inputs=example_inputs, shapes=shapes))
    calibration = open_data(data, graph, images)
    if eval_data is None:
        calibration, evaluation = calibration.split()
        note = "; ".join(text for text in (HELD_OUT, note) if text)
    else:
        evaluation = open_data(eval_data, graph, images)
    quantized = quantize_folder(graph, calibration, out, settings, force=force, events=events)
    compile_folder(out, force=force, check=False, events=events)  # verify holds it against the simulation
    found = verify_folder(
        out,
        evaluation,
        metric=metric,
        limit=limit,
        workers=workers,
        model=quantized.model,
        note=note,
        events=events,
    )
    if report:
        report_if_installed(out, events)
    if departs(found):
        check_compiled(Path(out), settings.target, events or Events())
    return found
