"""Task metrics of a verification: a score per sample, averaged. top1, top5, or the user's own function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hexaquant.core.errors import InputError
from hexaquant.core.user_code import find_object

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
