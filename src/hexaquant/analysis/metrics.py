"""Task metrics of a verification: a score per sample, averaged. top1, top5, or the user's own function."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hexaquant.core.errors import InputError

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
    if metric.startswith("top") and metric[3:].isdigit():
        return metric, top_k(int(metric[3:]))
    module, _, name = metric.rpartition(":")
    if not module:
        raise InputError(f"unknown metric '{metric}': use top1, top5, or module:function")
    function = getattr(_import(module), name, None)
    if not callable(function):
        raise InputError(f"metric '{metric}': module {module} has no function '{name}'")
    return name, function


def _import(module: str) -> Any:
    try:
        if not module.endswith(".py"):
            return importlib.import_module(module)
        spec = importlib.util.spec_from_file_location(Path(module).stem, module)
        assert spec is not None and spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded
    except (ImportError, OSError, SyntaxError) as error:
        raise InputError(f"cannot import the metric's module {module}: {error}") from None
