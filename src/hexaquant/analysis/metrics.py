"""Task metrics of a verification: a score per sample, averaged. top1, top5, or the user's own function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hexaquant.core.errors import InputError
from hexaquant.core.user_code import find_object

Outputs = Mapping[str, np.ndarray]
Metric = Callable[[Outputs, Any], float]
"""(outputs of one sample without the batch axis, its label) -> score; higher is better."""


def top_k(k: int) -> Metric:
    """1 when the label is among the ``k`` largest values of the first output, else 0."""

    def score(outputs: Outputs, label: Any) -> float:
        logits = np.asarray(next(iter(outputs.values()))).ravel()
        return float(int(label) in np.argpartition(-logits, min(k, logits.size) - 1)[:k])

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
