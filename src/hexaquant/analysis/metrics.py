"""Task metrics of a verification: a score per sample, averaged. top1, top5, or the user's own function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hexaquant.analysis.verify import FloatReference, simulate
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.core.metrics import Sqnr
from hexaquant.core.user_code import find_object
from hexaquant.io.dataset import Dataset
from hexaquant.sim.model import QuantizedModel

Outputs = Mapping[str, np.ndarray]
Metric = Callable[[Outputs, Any], float]
"""(outputs of one sample without the batch axis, its label as each_label gives it) -> score; higher is better."""


def each_label(labels: npt.ArrayLike) -> Iterator[Any]:
    """What a metric gets for each sample of a batch of labels (N, ...): one value as a scalar, several as they are."""
    for label in np.asarray(labels):
        yield label.reshape(())[()] if label.size == 1 else label


def each_part(outputs: Outputs, count: int) -> Iterator[dict[str, Any]]:
    """The part of each of ``count`` samples in ``outputs``: of one sample without the batch axis, or the whole array
    of an output whose first axis counts no samples."""
    for index in range(count):
        yield {n: a[index] if np.ndim(a) and len(a) == count else a for n, a in outputs.items()}


def class_number(label: Any, classes: int) -> int:
    """The class that ``label`` says: a whole number, or one-hot of ``classes`` values. Raises InputError for others."""
    values = np.asarray(label).ravel()
    if values.size == 1 and float(values[0]).is_integer():
        number = int(values[0])
        if not 0 <= number < classes:
            hint = "; are the labels 1-based?" if number == classes else ""
            raise InputError(f"a label is {number} but the network has {classes} classes, 0 to {classes - 1}{hint}")
        return number
    if values.size == classes and np.count_nonzero(values) == 1 and values.max() == 1:
        return int(values.argmax())
    shown = f"has shape {list(np.shape(label))}" if values.size != 1 else f"is {values[0]}"
    raise InputError(
        f"a label {shown}, but counting right classes takes a class number or one-hot of {classes} values a sample: "
        "convert the labels, or give a metric of your own (module:function)"
    )


def top_k(k: int) -> Metric:
    """1 when the label's class is among the ``k`` largest values of the first output, else 0."""

    def score(outputs: Outputs, label: Any) -> float:
        logits = np.asarray(next(iter(outputs.values()))).ravel()
        return float(class_number(label, logits.size) in np.argpartition(-logits, min(k, logits.size) - 1)[:k])

    score.__name__ = f"top{k}"
    return score


def find_metric(metric: str | Metric) -> tuple[str, Metric]:
    """(name, function) of "top1", "top5", a callable, or "module:function" / "file.py:function".

    Raises InputError when it does not exist.
    """
    if callable(metric):
        return getattr(metric, "__name__", "metric"), metric
    if metric.startswith("top") and metric[3:].isdigit() and int(metric[3:]):
        return metric, top_k(int(metric[3:]))
    if ":" not in metric:
        raise InputError(f"unknown metric '{metric}': use top1, top5, or module:function")
    function = find_object(metric, "the metric")
    if not callable(function):
        raise InputError(f"metric '{metric}' is a {type(function).__name__}, not a function; name a function")
    return metric.rpartition(":")[2], function


# The task metric of FP32 and simulation, without a target: many samples at once.


@dataclass(frozen=True)
class Score:
    """Mean metric of each backend over ``samples``, and SQNR in dB of the first output, simulation against FP32."""

    fp32: float
    sim: float
    sqnr_db: float
    samples: int


def score_simulation(
    model: QuantizedModel,
    reference: Path,
    data: Dataset,
    metric: Metric,
    *,
    limit: int | None = None,
    batch_size: int = 16,
    events: Events | None = None,
) -> Score:
    """Of the first ``limit`` samples of ``data``. Raises InputError when they have no labels."""
    fp32, meter = FloatReference(reference), Sqnr()
    scores: list[tuple[float, float]] = []
    size = 1 if limit is not None else batch_size
    batches = islice(data.labelled(size), limit)
    total = None if data.samples is None else -(-min(data.samples, limit or data.samples) // size)
    for batch, labels in (events or Events()).track(batches, "simulate", total):
        if labels is None:
            raise InputError(f"{data.source} has no labels, so the metric cannot be measured; give labelled data")
        wanted, got = fp32.run(batch), simulate(model, batch, fp32.names)
        meter.add(wanted[fp32.names[0]], got[fp32.names[0]])
        parts = (each_part(outputs, len(labels)) for outputs in (wanted, got))
        for label, one, other in zip(each_label(labels), *parts, strict=True):
            scores.append((float(metric(one, label)), float(metric(other, label))))
    means = np.mean(np.asarray(scores, np.float64), axis=0)
    return Score(float(means[0]), float(means[1]), meter.db, len(scores))
