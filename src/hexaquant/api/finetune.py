"""hq.finetune: quantization-aware training of a model that hq.quantize made, with or without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hexaquant.api.quantize import Model
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.frontends import load
from hexaquant.io.data import open_data
from hexaquant.io.dataset import Dataset
from hexaquant.qat.distill import Teacher, as_tuple, find_distance
from hexaquant.qat.finetune import Criterion, Finetuned, Labelled, Settings, finetune_model
from hexaquant.sim.model import QuantizedModel

Loss = Callable[[Any, Tensor | None], Tensor]


def finetune(
    model: QuantizedModel,
    data: Any,
    *,
    reference: Any = None,
    loss: str | Loss = "mse",
    epochs: int = 1,
    steps: int | None = None,
    batch_size: int = 32,
    lr: float = 1e-3,
    encoding_lr: float = 1e-3,
    weight_decay: float = 0.0,
    warmup: float = 0.1,
    ema: float | None = None,
    clip_norm: float | None = None,
    learn: Sequence[str] = ("*",),
    seed: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 100,
    events: Events | None = None,
) -> Finetuned:
    """Train ``model``'s weights, biases and encodings in place, starting exactly at its PTQ result.

    ``loss``: "mse" or "kl" distil the FP32 network ``reference`` (default: what the model was made from) and need no
    labels; a function ``loss(outputs, labels)`` trains on a task. ``steps`` counts optimizer steps and replaces
    ``epochs``. Samples are read in the order of ``data``, in batches of ``batch_size``: a DataLoader that shuffles is
    reproducible through ``seed``. ``checkpoint``: a file that lets a killed run continue to the same result. The other
    options are those of qat.finetune.Settings. Afterwards encodings are frozen: export writes exactly those.
    Raises InputError in one sentence for what cannot work.
    """
    dataset = open_data(data, model.source_graph)
    criterion = _criterion(model, loss, reference)
    total = steps if steps is not None else epochs * batches_in_pass(dataset, batch_size)
    rates = {"lr": lr, "encoding_lr": encoding_lr, "weight_decay": weight_decay, "warmup": warmup}
    settings = Settings(total, **rates, ema=ema, clip_norm=clip_norm, learn=tuple(learn), seed=seed)

    def batches(epoch: int) -> Iterator[Labelled]:
        return dataset.labelled(batch_size)

    file = None if checkpoint is None else Path(checkpoint)
    done = finetune_model(
        model, batches, criterion, settings, checkpoint=file, checkpoint_every=checkpoint_every, events=events
    )
    _record(model, dataset, settings, loss, done)
    return done


def _criterion(model: QuantizedModel, loss: str | Loss, reference: Any) -> Criterion:
    if not isinstance(loss, str):

        def task(inputs: Mapping[str, Tensor], outputs: Any, labels: Tensor | None) -> Tensor:
            return loss(outputs, labels)

        return task
    distance = find_distance(loss)
    reference = getattr(model, "reference", None) if reference is None else reference
    if reference is None:
        raise InputError("this model does not know its FP32 network: give it as reference, or a loss function")
    teacher = Teacher(load(reference))

    def distil(inputs: Mapping[str, Tensor], outputs: Any, labels: Tensor | None) -> Tensor:
        return distance(as_tuple(outputs), teacher(inputs))

    return distil


def batches_in_pass(dataset: Dataset, batch_size: int) -> int:
    """Number of batches of one pass over ``dataset``; takes a pass when only that can tell."""
    fixed = next((s.fixed_batch for s in dataset.specs if s.fixed_batch is not None), None)
    if dataset.samples is not None:
        return -(-dataset.samples // (fixed or batch_size))
    with torch.random.fork_rng(devices=[]):
        return sum(1 for _ in dataset.batches(batch_size))


def _record(model: QuantizedModel, dataset: Dataset, settings: Settings, loss: str | Loss, done: Finetuned) -> None:
    """Append the run to the model's steps, which export writes into the manifest."""
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    details = asdict(settings) | {"loss": name, "data": dataset.source, "last_loss": done.losses[-1]}
    entry = {"step": "finetune", "samples": dataset.samples, "details": details}
    if isinstance(model, Model):
        model.steps = (*model.steps, entry)
