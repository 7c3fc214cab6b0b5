"""Quantization-aware training of an artifact folder: no labels, no Python source of the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as oir

from hexaquant.api.artifacts import MODEL, QDQ, REFERENCE, Exported, export_model, load_quantized, open_folder
from hexaquant.api.finetune import finetune
from hexaquant.api.quantize import Model
from hexaquant.api.resume import KEY, step_fingerprint
from hexaquant.api.training_score import measure
from hexaquant.core import ranks
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.core.events import Events
from hexaquant.io.data import open_data
from hexaquant.io.image_folder import ImageSpec
from hexaquant.io.manifest import verify_files
from hexaquant.ir.graph import Graph
from hexaquant.qat.devices import accelerator_from_launch
from hexaquant.qat.distill import Teacher
from hexaquant.qat.finetune import Finetuned

CHECKPOINT = ".state/qat.safetensors"


@dataclass(frozen=True)
class Trained:
    """What training a folder did. SQNR in dB of the simulation against FP32, on the held-out fifth of the data."""

    exported: Exported
    run: Finetuned
    sqnr_before: float
    sqnr_after: float


def finetune_folder(
    folder: str | Path,
    data: Any,
    *,
    images: ImageSpec | None = None,
    batch_size: int = 32,
    checkpoint_every: int = 100,
    validate_every: int | None = None,
    patience: int | None = None,
    events: Events | None = None,
    **options: Any,
) -> Trained:
    """Distil the FP32 network of ``folder`` into its quantized one and export the result there again.

    Four fifths of ``data`` train, one fifth measures; with ``validate_every`` or ``patience`` the best state on that
    fifth is kept. ``options`` are those of :func:`hexaquant.finetune`. A killed run continues from
    ``folder``/.state/qat.safetensors when called again with the same options. DLC and binaries are out of date
    afterwards: compile again. Started as several processes (accelerate launch, torchrun) each takes its part of every
    batch and the first one writes. Raises InputError for a folder without its FP32 network.
    """
    accelerator = accelerator_from_launch()
    out, manifest = open_folder(folder)
    if not (out / REFERENCE).is_file():
        raise InputError(f"{out} does not hold its FP32 network {REFERENCE}: quantize the model again")
    verify_files(out, [MODEL, QDQ, REFERENCE])
    made = manifest.sections["quantization"]
    model = _open(out, made)
    training, held_out = open_data(data, model.source_graph, images).split()
    reference = Graph(oir.load(out / REFERENCE), str(out / REFERENCE))
    teacher = Teacher(reference)
    before = measure(model, teacher, held_out, batch_size)
    judged: dict[str, Any] = {}
    if validate_every is not None or patience is not None:
        judged = {"validation": held_out, "validate_every": validate_every, "patience": patience}
    run = finetune(
        model,
        training,
        reference=reference,
        batch_size=batch_size,
        checkpoint=out / CHECKPOINT,
        checkpoint_every=checkpoint_every,
        accelerator=accelerator,
        events=events,
        **(options | judged),
    )
    after = measure(model, teacher, held_out, batch_size)
    if ranks.rank() > 0:
        return Trained(Exported(out, (), ()), run, before, after)
    exported = export_model(
        model,
        out,
        encodings_version=made.get("encodings_version", "1.0.0"),
        reference=reference,
        overrides=model.overrides,
        steps=list(model.steps),
        made_from={key: made[key] for key in ("data",) if key in made} | {KEY: _identity(made, model)},
    )
    (out / CHECKPOINT).unlink(missing_ok=True)
    return Trained(exported, run, before, after)


def _identity(made: Mapping[str, Any], model: Model) -> str:
    """Fingerprint of the trained model: no longer that of the quantized one, which can be made again."""
    return step_fingerprint({"quantized": made.get(KEY), "steps": list(model.steps)})


def _open(out: Path, made: Mapping[str, Any]) -> Model:
    """The simulation in ``out`` as :func:`hexaquant.quantize` returned it."""
    stored = load_quantized(out)
    model = Model(stored.source_graph, stored.plan)
    missing = model.set_encodings(stored.encodings())
    if missing:
        raise EncodingError(f"{out / QDQ} has no encoding for '{missing[0]}': export the model again")
    model.overrides, model.steps = made.get("overrides") or None, tuple(made.get("steps", ()))
    return model
