"""hq.finetune: quantization-aware training of a model that hq.quantize made, with or without labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from hexaquant.analysis.metrics import class_number, each_label
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.core.metrics import Sqnr
from hexaquant.folder.artifacts import Model
from hexaquant.frontends import load
from hexaquant.io.batches import take_labelled
from hexaquant.io.data import open_data
from hexaquant.io.dataset import Dataset
from hexaquant.ir.graph import Graph
from hexaquant.ir.input_spec import sample_count
from hexaquant.qat.devices import part_of
from hexaquant.qat.distill import Teacher, as_tuple, find_distance
from hexaquant.qat.features import Watched, comparable, feature_distance, feature_names
from hexaquant.qat.finetune import Criterion, Finetuned, Piece, finetune_model
from hexaquant.qat.settings import How, Settings, settings_from
from hexaquant.qat.tensorboard import logged
from hexaquant.qat.validation import Validation
from hexaquant.sim.model import QuantizedModel

# Scores of a model in training on data that it does not train on: larger is better.

Score = Callable[[QuantizedModel], float]
UserMetric = Callable[[Any, Tensor | None], float]
"""(outputs, labels or None) of a batch -> its mean over the samples."""
NAMES = ("sqnr", "top1", "loss")
MEASURED = 256
"""Samples, at most, on which SQNR is measured."""


def make_score(
    metric: str | UserMetric, data: Dataset, batch_size: int, *, criterion: Criterion, teacher: Teacher | None
) -> Score:
    """``metric``: "sqnr" in dB against ``teacher``, "top1" of labelled data, "loss" (its negative), or a function.

    Raises InputError for an unknown name and for "sqnr" without an FP32 network.
    """
    if callable(metric):
        return lambda model: _mean(model, data, batch_size, lambda inputs, outputs, labels: metric(outputs, labels))
    if metric == "sqnr" and teacher is not None:
        return lambda model: measure(model, teacher, data, batch_size)
    if metric == "sqnr":
        raise InputError("the metric sqnr compares with the FP32 network: give it as reference, or another metric")
    if metric == "loss":
        return lambda model: -_mean(model, data, batch_size, criterion)
    if metric == "top1":
        return lambda model: _mean(model, data, batch_size, _top1)
    raise InputError(f"unknown metric '{metric}': known are {', '.join(NAMES)}, or give a function")


@torch.no_grad()
def measure(model: QuantizedModel, teacher: Teacher, dataset: Dataset, batch_size: int) -> float:
    """SQNR in dB of the simulation's float outputs against ``teacher``, on the first MEASURED samples."""
    meter = Sqnr()
    seen = 0
    for inputs, _, count in _batches(model, dataset, batch_size):
        for reference, got in zip(teacher(inputs), as_tuple(model(**inputs)), strict=True):
            if reference.is_floating_point():
                meter.add(reference.cpu().numpy(), got.cpu().numpy())
        seen += count
        if seen >= MEASURED:
            break
    return meter.db


@torch.no_grad()
def _mean(model: QuantizedModel, data: Dataset, batch_size: int, of_batch: Callable[..., Any]) -> float:
    """Mean over the samples of what ``of_batch(inputs, outputs, labels)`` says of each batch."""
    total = 0.0
    samples = 0
    for inputs, labels, count in _batches(model, data, batch_size):
        total += count * float(of_batch(inputs, model(**inputs), labels))
        samples += count
    return total / samples


def _batches(
    model: QuantizedModel, data: Dataset, batch_size: int
) -> Iterator[tuple[dict[str, Tensor], Tensor | None, int]]:
    device = next(model.parameters()).device
    for batch, labels in data.labelled(batch_size):
        inputs = {name: torch.as_tensor(array, device=device) for name, array in batch.items()}
        target = None if labels is None else torch.as_tensor(labels, device=device)
        yield inputs, target, sample_count(batch, data.specs)


def _top1(inputs: Mapping[str, Tensor], outputs: Any, labels: Tensor | None) -> float:
    if labels is None:
        raise InputError("the metric top1 needs labelled validation data: give labels, or the metric sqnr")
    scores = as_tuple(outputs)[0]
    predicted = scores.argmax(1)
    if labels.shape != predicted.shape and predicted.ndim == 1:
        numbers = [class_number(label, scores.shape[1]) for label in each_label(labels.cpu().numpy())]
        labels = torch.tensor(numbers, device=predicted.device)
    if labels.shape != predicted.shape:
        raise InputError(
            f"labels of shape {list(labels.shape)} do not fit top1 of an output of shape {list(scores.shape)}: "
            f"give class numbers of shape {list(predicted.shape)}, or a metric of your own"
        )
    return float((predicted == labels).float().mean())


Loss = Callable[[Any, Tensor | None], Tensor]


def finetune(
    model: QuantizedModel,
    data: Any,
    *,
    reference: Any = None,
    loss: str | Loss = "mse",
    features: Sequence[str] = (),
    feature_weight: float = 1.0,
    epochs: int = 1,
    steps: int | None = None,
    batch_size: int = 32,
    validation: Any = None,
    metric: str | UserMetric | None = None,
    validate_every: int | None = None,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 100,
    log_dir: str | Path | None = None,
    accelerator: Any = None,
    events: Events | None = None,
    **how: Unpack[How],
) -> Finetuned:
    """Train ``model``'s weights, biases and encodings in place, starting exactly at its PTQ result.

    ``loss``: "mse" or "kl" distil the FP32 network ``reference`` (default: what the model was made from) and need no
    labels; a function ``loss(outputs, labels)``, a mean over samples, trains on a task. ``features``: globs of inner
    tensors that are drawn towards those of the FP32 network as well, with ``feature_weight``.

    ``steps`` counts optimizer steps and replaces ``epochs``. Samples are read in the order of ``data``, in batches of
    ``batch_size`` (of all processes together): a DataLoader that shuffles is reproducible through ``seed``.
    ``validation``: data on which ``metric`` (sqnr, top1, loss, or a function of outputs and labels; larger is better)
    is measured every ``validate_every`` steps, by default once an epoch; the best state is kept, and after ``patience``
    scores without improvement the run ends. ``checkpoint``: a file that lets a killed run continue to the same result;
    ``log_dir``: TensorBoard logs; ``accelerator``: an accelerate.Accelerator.

    ``how``: lr, encoding_lr, weight_decay, warmup, ema, clip_norm, seed, batchnorm, dampening, freeze_oscillations,
    precision as in qat.settings.Settings; ``learn``: globs of tensors whose encodings follow training in ``mode`` (lsq,
    pact, ema, fixed; qat/learn.py), or a map from glob to mode.

    Afterwards encodings are frozen: export writes exactly those. Raises InputError in one sentence for what cannot
    work.
    """
    dataset = open_data(data, model.source_graph)
    epoch = batches_in_pass(dataset, batch_size)
    settings = settings_from(steps if steps is not None else epochs * epoch, **how)
    with ExitStack() as stack:
        log = stack.enter_context(logged(events or Events(), log_dir))
        goal = _Goal(model, loss, reference, features, feature_weight, stack)
        if features:
            goal.leave_out_other_tensors(dataset, batch_size, log)
        judge = goal.validation(validation, metric, batch_size, validate_every or epoch, patience)
        done = finetune_model(
            model,
            lambda number: pieces(dataset, batch_size),
            goal.criterion,
            settings,
            validation=judge,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            checkpoint_every=checkpoint_every,
            accelerator=accelerator,
            identity=json.dumps([goal.details, batch_size, None if judge is None else [judge.name, judge.every]]),
            events=log,
        )
    _record(model, dataset, settings, goal.details, done)
    return done


class _Goal:
    """What is minimised: the task or the distance from the FP32 network, and perhaps that of inner tensors."""

    def __init__(
        self,
        model: QuantizedModel,
        loss: str | Loss,
        reference: Any,
        features: Sequence[str],
        feature_weight: float,
        stack: ExitStack,
    ) -> None:
        self.model = model
        self.task = None if isinstance(loss, str) else loss
        self.distance = find_distance(loss) if isinstance(loss, str) else None
        graph = _reference_graph(model, reference, needed=self.distance is not None or bool(features))
        names = feature_names(model, graph, features) if features and graph is not None else []
        taps: dict[str, nn.Module] = {name: nn.Identity() for name in names}
        self.teacher = None if graph is None else Teacher(graph, taps)
        self.feature_weight = feature_weight
        self.student = stack.enter_context(Watched({name: model.quantizers[name] for name in names}))
        self.watched = stack.enter_context(Watched(taps))
        name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
        self.details: dict[str, Any] = {"loss": name}
        if names:
            self.details |= {"features": names, "feature_weight": feature_weight}

    @torch.no_grad()
    def leave_out_other_tensors(self, dataset: Dataset, batch_size: int, events: Events) -> None:
        """Compare inner tensors on one batch, and only those that mean the same in both networks afterwards."""
        assert self.teacher is not None
        with torch.random.fork_rng(devices=[]):
            batch = next(dataset.batches(batch_size))
        device = next(self.model.parameters()).device
        inputs = {name: torch.as_tensor(array, device=device) for name, array in batch.items()}
        self.teacher(inputs)
        with self.model.float_mode():
            self.model(**inputs)
        same, others = comparable(self.model, self.student, self.watched)
        if not same:
            raise InputError(
                f"tensor '{others[0]}' is scaled otherwise than in the FP32 network (equalization): choose other "
                "features, or quantize with a recipe that does not equalize"
            )
        if others:
            events.note("finetune", f"features left out, for equalization scales them: {', '.join(others)}")
        self.student.only(same)
        self.watched.only(same)
        self.details["features"] = same

    def criterion(self, inputs: Mapping[str, Tensor], outputs: Any, labels: Tensor | None) -> Tensor:
        """The loss of a batch, a mean over its samples."""
        wanted = None
        if self.teacher is not None and (self.distance is not None or self.details.get("features")):
            wanted = self.teacher(inputs)
        if self.distance is not None and wanted is not None:
            loss = self.distance(as_tuple(outputs), wanted)
        else:
            assert self.task is not None
            loss = self.task(outputs, labels)
        if self.details.get("features"):
            loss = loss + self.feature_weight * feature_distance(self.student, self.watched)
        return loss

    def validation(
        self, held_out: Any, metric: str | UserMetric | None, batch_size: int, every: int, patience: int | None
    ) -> Validation | None:
        """How the model is scored on ``held_out``: by default with SQNR when distilling, with the loss for a task."""
        if held_out is None:
            if patience is not None or metric is not None:
                raise InputError("patience and metric need validation data: give validation=data")
            return None
        data = open_data(held_out, self.model.source_graph)
        chosen = metric or ("loss" if self.distance is None else "sqnr")
        score = make_score(chosen, data, batch_size, criterion=self.criterion, teacher=self.teacher)
        name = chosen if isinstance(chosen, str) else getattr(chosen, "__name__", "metric")
        return Validation(score, every, patience, "validation_loss" if name == "loss" else name)


def _reference_graph(model: QuantizedModel, reference: Any, needed: bool) -> Graph | None:
    reference = getattr(model, "reference", None) if reference is None else reference
    if reference is None and needed:
        raise InputError("this model does not know its FP32 network: give it as reference, or a loss function")
    return None if reference is None else load(reference)


def pieces(dataset: Dataset, batch_size: int) -> Iterator[Piece]:
    """One pass over ``dataset``: this process's part of each batch."""
    for batch, labels in dataset.labelled(batch_size):
        keep, share = part_of(sample_count(batch, dataset.specs))
        yield (*take_labelled(batch, labels, dataset.specs, keep), share)


def batches_in_pass(dataset: Dataset, batch_size: int) -> int:
    """Number of batches of one pass over ``dataset``; takes a pass when only that can tell."""
    known = dataset.batch_count(batch_size)
    if known is not None:
        return known
    with torch.random.fork_rng(devices=[]):
        return sum(1 for _ in dataset.batches(batch_size))


def _record(
    model: QuantizedModel, dataset: Dataset, settings: Settings, goal: Mapping[str, Any], done: Finetuned
) -> None:
    """Append the run to the model's steps, which export writes into the manifest."""
    figures = {"last_loss": done.losses[-1], "best_step": done.best_step, "scores": list(done.scores)}
    details = asdict(settings) | dict(goal) | {"data": dataset.source} | figures
    entry = {"step": "finetune", "samples": dataset.samples, "details": details}
    if isinstance(model, Model):
        model.steps = (*model.steps, entry)
