"""Scores of a model in training on data that it does not train on: larger is better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from hexaquant.analysis.metrics import class_number, each_label
from hexaquant.core.errors import InputError
from hexaquant.core.metrics import Sqnr
from hexaquant.io.dataset import Dataset
from hexaquant.ir.input_spec import sample_count
from hexaquant.qat.distill import Teacher, as_tuple
from hexaquant.qat.finetune import Criterion
from hexaquant.sim.model import QuantizedModel

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
    meter, seen = Sqnr(), 0
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
    total, samples = 0.0, 0
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
