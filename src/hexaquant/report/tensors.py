"""Everything the report knows about each tensor, joined from plan, encodings, weights, analysis, debugger and proof."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hexaquant.core.encoding import Encoding
from hexaquant.ir.graph import Graph
from hexaquant.report.network import Network, bits_of
from hexaquant.report.schema import TensorEntry
from hexaquant.report.sources import Sources
from hexaquant.sim.plan import QuantPlan

BINS = 48
"""Of the histogram of a weight."""
Card = dict[str, Any]


def tensor_cards(
    sources: Sources, network: Network, graph: Graph, plan: QuantPlan | None, encodings: Mapping[str, Encoding]
) -> dict[str, Card]:
    """Tensor -> what is known about it; entries without a value are left out."""
    constants = graph.initializers
    cards: dict[str, Card] = {}
    for name, shape in network.shapes.items():
        value = constants.get(name)
        data = None if value is None or value.const_value is None else value.const_value.numpy()
        cards[name] = {"shape": list(shape), **_planned(plan, name), **_encoded(encodings.get(name)), **_weight(data)}
    for entry in sources.analysis.tensors if sources.analysis else ():
        cards.setdefault(entry.name, {}).update(_analysed(entry))
    for tensor in sources.debug.tensors if sources.debug else ():
        figures = tensor.model_dump(include={"sqnr_fp32_sim_db", "sqnr_sim_target_db", "max_steps"})
        cards.setdefault(tensor.name, {}).update(_known(figures))
    for row in sources.coverage or ():
        if row.tensor and row.tensor in cards:
            cards[row.tensor].setdefault("coverage", {"verdict": row.verdict, "lowered": row.lowered, "has": row.has})
    return cards


def _planned(plan: QuantPlan | None, name: str) -> Card:
    if plan is None or name not in plan.tensors:
        return {}
    entry = plan[name]
    told = {"role": entry.role, "how": entry.how, "source": entry.source, "reason": entry.reason}
    grid = None if entry.grid is None else str(entry.grid)
    return _known({**told, "grid": grid, "bits": bits_of(plan, name)})


def _encoded(encoding: Encoding | None) -> Card:
    if encoding is None or encoding.grid.is_float:
        return {}
    single = encoding.step.numel() == 1
    told = {
        "encoding_min": figure(float(encoding.min.min())),
        "encoding_max": figure(float(encoding.max.max())),
        "scales": int(encoding.step.numel()),
        "scale": figure(float(encoding.step.reshape(-1)[0])) if single else None,
        "offset": int(encoding.offset.reshape(-1)[0]) if single else None,
        "scale_range": None if single else [figure(float(encoding.step.min())), figure(float(encoding.step.max()))],
    }
    return _known(told)


def _weight(data: np.ndarray | None) -> Card:
    """Range and histogram of a float constant; the value itself where there is one only."""
    if data is None or data.dtype.kind != "f":
        return {}
    if data.size == 1:
        return _known({"value": figure(float(data.reshape(-1)[0]))})
    values = data.astype(np.float64).ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        return {}
    counts, edges = np.histogram(values, bins=BINS)
    histogram = {"low": figure(edges[0]), "high": figure(edges[-1]), "counts": counts.tolist()}
    told = {"min": values.min(), "max": values.max(), "mean": values.mean(), "std": values.std()}
    return {**{key: figure(float(value)) for key, value in told.items()}, "histogram": histogram}


def _analysed(entry: TensorEntry) -> Card:
    figures = {
        key: None if value is None else figure(value)
        for key in ("min", "max", "mean", "std", "encoding_min", "encoding_max", "clipped_fraction")
        if (value := getattr(entry, key)) is None or isinstance(value, float)
    }
    histogram = None if entry.histogram is None else entry.histogram.model_dump()
    outliers = [[o.channel, figure(o.ratio)] for o in entry.outlier_channels] or None
    return _known({**figures, "histogram": histogram, "outliers": outliers})


def _known(values: Mapping[str, Any]) -> Card:
    return {key: value for key, value in values.items() if value not in (None, "")}


def figure(value: float) -> float | None:
    """``value`` to six digits, which is what a page shows; None when it is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
