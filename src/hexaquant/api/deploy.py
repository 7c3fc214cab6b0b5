"""hq.deploy: everything, from a network to an accuracy measured on the target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hexaquant.analysis.metrics import Metric
from hexaquant.api.compile import compile_folder
from hexaquant.api.quantize import quantize
from hexaquant.api.verify import verify_folder
from hexaquant.core.events import Events
from hexaquant.frontends import load
from hexaquant.io.data import open_data
from hexaquant.ptq.recipe import Recipe
from hexaquant.targets.scheme import Scheme
from hexaquant.targets.soc import Target


def deploy(
    model: Any,
    data: Any,
    out: str | Path,
    *,
    eval_data: Any = None,
    target: str | Target = "sm8650",
    scheme: str | Scheme = "w8a8",
    recipe: str | Recipe = "fast",
    overrides: Mapping[str, Any] | str | Path | None = None,
    metric: str | Metric | None = "top1",
    limit: int | None = None,
    workers: int | None = None,
    encodings_version: str = "1.0.0",
    example_inputs: tuple[Any, ...] | None = None,
    note: str = "",
    events: Events | None = None,
) -> dict[str, Any]:
    """Quantize, export, compile and verify; returns the report of :func:`verify_folder`.

    Without ``eval_data`` a held-out fifth of ``data`` verifies, and the report says so.
    """
    graph = load(model, example_inputs=example_inputs)
    calibration = open_data(data, graph)
    if eval_data is None:
        calibration, evaluation = calibration.split()
        where = "held-out fifth of the calibration data"
    else:
        evaluation, where = open_data(eval_data, graph), ""
    quantized = quantize(
        graph, calibration, target=target, scheme=scheme, recipe=recipe, overrides=overrides, events=events
    )
    quantized.export(out, encodings_version=encodings_version)
    compile_folder(out, events=events)
    return verify_folder(
        out,
        evaluation,
        metric=metric,
        limit=limit,
        workers=workers,
        model=quantized,
        note="; ".join(text for text in (where, note) if text),
        events=events,
    )
