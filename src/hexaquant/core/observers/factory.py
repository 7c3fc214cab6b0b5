"""Observers by name. The table is the whole list; nothing registers itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.core.grid import Grid
from hexaquant.core.observers.histogram_observer import (
    EntropyObserver,
    MseObserver,
    PercentileObserver,
    SqnrObserver,
    checked,
)
from hexaquant.core.observers.min_max import MinMaxObserver, MovingAverageObserver, WholeObserver
from hexaquant.core.observers.observer import Observer

OBSERVERS: Mapping[str, Callable[..., Observer]] = {
    "min_max": MinMaxObserver,
    "moving_average": MovingAverageObserver,
    "percentile": PercentileObserver,
    "mse": MseObserver,
    "sqnr": SqnrObserver,
    "entropy": EntropyObserver,
    "whole": WholeObserver,
}


def make_observer(name: str, grid: Grid, **options: Any) -> Observer:
    """Observer ``name`` for ``grid``; ``options`` are its own (percentile=99.9, gamma=3, momentum=0.9, bins=2048).

    "percentile:99.9" is percentile with its value. Raises InputError for an unknown name or option.
    """
    kind, given = parse_observer(name)
    try:
        return OBSERVERS[kind](grid, **(given | options))
    except TypeError as error:
        raise InputError(f"observer '{name}' does not take these options: {error}") from error


def parse_observer(name: str) -> tuple[str, dict[str, float]]:
    """(key of OBSERVERS, options) of "mse", "min-max" or "percentile:99.9". Raises InputError for anything else."""
    kind, colon, value = name.partition(":")
    kind = kind.replace("-", "_")
    if kind not in OBSERVERS:
        raise InputError(f"unknown observer '{name}'; choose one of {', '.join(OBSERVERS)}")
    if not colon:
        return kind, {}
    if kind != "percentile":
        raise InputError(f"observer '{name}': only percentile takes a value, such as percentile:99.9")
    try:
        return kind, {"percentile": checked(float(value))}
    except ValueError:
        raise InputError(f"observer '{name}': '{value}' is not a number; give e.g. percentile:99.9") from None
