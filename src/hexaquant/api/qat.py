"""Quantization-aware training of an artifact folder: no labels, no Python source of the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as oir

from hexaquant.api.finetune import finetune, measure
from hexaquant.core import ranks
from hexaquant.core.atomic import write_text
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.folder.artifacts import (
    REFERENCE,
    Exported,
    Model,
    export_model,
    kept,
    load_quantized,
)
from hexaquant.folder.manifest import Quantization, read_manifest, verify_files
from hexaquant.folder.resume import KEY, step_fingerprint
from hexaquant.io.data import open_data
from hexaquant.io.dataset import Dataset
from hexaquant.io.image_folder import ImageSpec
from hexaquant.ir.graph import Graph
from hexaquant.qat.devices import accelerator_from_launch
from hexaquant.qat.distill import Teacher
from hexaquant.qat.finetune import Finetuned

CHECKPOINT = ".state/qat.safetensors"
REQUEST = ".state/qat.request"
"""Beside the checkpoint: the fingerprint of data and options that it is of."""
TRAINING = "training"
"""In the manifest's section "quantization": what the last training was asked and what it did."""
UNCHANGING = ("log_dir",)
"""Options that do not decide about the result."""


@dataclass(frozen=True)
class Trained:
    """What training a folder did. ``summary``: JSON values, among them "sqnr_before" and "sqnr_after" in dB of the
    simulation against FP32 on the held-out fifth of the data; ``reused``: it had been trained so before and was kept.
    """

    exported: Exported
    summary: Mapping[str, Any]
    reused: bool = False


def finetune_folder(
    folder: str | Path,
    data: Any,
    *,
    images: ImageSpec | None = None,
    batch_size: int = 32,
    checkpoint_every: int = 100,
    validate_every: int | None = None,
    patience: int | None = None,
    again: bool = False,
    events: Events | None = None,
    **options: Any,
) -> Trained:
    """Distil the FP32 network of ``folder`` into its quantized one and export the result there again.

    Four fifths of ``data`` train, one fifth measures; with ``validate_every`` or ``patience`` the best state on that
    fifth is kept. ``options`` are those of :func:`hexaquant.finetune`. A killed run continues from
    ``folder``/.state/qat.safetensors when called again with the same options, and what was trained with them and the
    same data is kept unless ``again`` trains it further. DLC and binaries are out of date afterwards: compile again.
    Started as several processes (accelerate launch, torchrun) each takes its part of every batch and the first one
    writes. Raises InputError for a folder without its FP32 network.
    """
    accelerator = accelerator_from_launch()
    model = _open(Path(folder))
    out = Path(folder)
    made = read_manifest(out).quantization
    whole = open_data(data, model.source_graph, images)
    judged: dict[str, Any] = {"validate_every": validate_every, "patience": patience}
    request = _request(whole, batch_size, options | judged)
    if not again and (made.training or {}).get("request") == request:
        return _kept(out, made, events)
    _claim_checkpoint(out, request)
    training, held_out = whole.split()
    reference = Graph(oir.load(out / REFERENCE), str(out / REFERENCE))
    teacher = Teacher(reference)
    before = measure(model, teacher, held_out, batch_size)
    run = finetune(
        model,
        training,
        reference=reference,
        batch_size=batch_size,
        checkpoint=out / CHECKPOINT,
        checkpoint_every=checkpoint_every,
        accelerator=accelerator,
        events=events,
        **(options | (judged | {"validation": held_out} if any(judged.values()) else {})),
    )
    summary = _summary(run, before, measure(model, teacher, held_out, batch_size))
    if ranks.rank() > 0:
        return Trained(Exported(out, (), ()), summary)
    exported = _export(model, out, made, reference, {"request": request, "summary": summary})
    return Trained(exported, summary | {"resumed_from": run.resumed_from})


def _export(model: Model, out: Path, made: Quantization, reference: Graph, training: Mapping[str, Any]) -> Exported:
    """The trained model in the place of the quantized one; ``made``: how that came about."""
    record = {TRAINING: training, KEY: _identity(made, model)}
    return export_model(
        model,
        out,
        encodings_version=made.encodings_version,
        reference=reference,
        overrides=model.overrides,
        steps=list(model.steps),
        made_from={"data": made.data} | record,
        obsolete=[CHECKPOINT, REQUEST],
    )


def _claim_checkpoint(out: Path, request: str) -> None:
    """Raise InputError where a checkpoint is of other data or options than ``request``; else note that."""
    file = out / REQUEST
    if (
        (out / CHECKPOINT).is_file()
        and file.is_file()
        and file.read_text(encoding="utf-8", errors="replace") != request
    ):
        raise InputError(
            f"checkpoint {out / CHECKPOINT} is of another run (data, options or versions differ); delete it"
        )
    if ranks.rank() == 0:
        file.parent.mkdir(exist_ok=True)
        write_text(file, request)


def _request(data: Dataset, batch_size: int, options: Mapping[str, Any]) -> str:
    """Fingerprint of all that a training is asked to do, but for what it starts from. Takes a pass over ``data``."""
    deciding = {key: value for key, value in options.items() if key not in UNCHANGING}
    return step_fingerprint({"data": data.content_hash(), "batch_size": batch_size, "options": deciding})


def _kept(out: Path, made: Quantization, events: Events | None) -> Trained:
    """The folder as it is: trained with the same options on the same data already."""
    (events or Events()).note("qat", f"{out} was trained like this already; kept (--again trains it further)")
    return Trained(kept(out), (made.training or {})["summary"] | {"resumed_from": 0}, reused=True)


def _summary(run: Finetuned, before: float, after: float) -> dict[str, Any]:
    return {
        "steps": run.steps,
        "first_loss": run.losses[0],
        "last_loss": run.losses[-1],
        "sqnr_before": before,
        "sqnr_after": after,
        "best_step": run.best_step,
        "stopped_early": run.stopped_early,
        "frozen_weights": run.frozen,
    }


def _identity(made: Quantization, model: Model) -> str:
    """Fingerprint of the trained model: no longer that of the quantized one, which can be made again."""
    return step_fingerprint({"quantized": made.fingerprint, "steps": list(model.steps)})


def _open(out: Path) -> Model:
    """The simulation in ``out`` as :func:`hexaquant.quantize` returned it. Raises InputError without FP32 network."""
    model = load_quantized(out)
    if not (out / REFERENCE).is_file():
        raise InputError(f"{out} does not hold its FP32 network {REFERENCE}: quantize the model again")
    verify_files(out, [REFERENCE])
    return model
