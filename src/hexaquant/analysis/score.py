"""The task metric of FP32 and simulation, without a target: many samples at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from hexaquant.analysis.metrics import Metric, each_label, each_part
from hexaquant.analysis.onnx_session import OnnxSession
from hexaquant.analysis.verify import simulate
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.core.metrics import Sqnr
from hexaquant.io.dataset import Dataset
from hexaquant.sim.model import QuantizedModel


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
    fp32 = OnnxSession(reference)
    meter = Sqnr()
    scores: list[tuple[float, float]] = []
    size = 1 if limit is not None else batch_size
    batches = islice(data.labelled(size), limit)
    total = None if data.samples is None else -(-min(data.samples, limit or data.samples) // size)
    for batch, labels in (events or Events()).track(batches, "simulate", total):
        if labels is None:
            raise InputError(f"{data.source} has no labels, so the metric cannot be measured; give labelled data")
        wanted = fp32.run(batch)
        got = simulate(model, batch, fp32.names)
        meter.add(wanted[fp32.names[0]], got[fp32.names[0]])
        parts = (each_part(outputs, len(labels)) for outputs in (wanted, got))
        for label, one, other in zip(each_label(labels), *parts, strict=True):
            scores.append((float(metric(one, label)), float(metric(other, label))))
    means = np.mean(np.asarray(scores, np.float64), axis=0)
    return Score(float(means[0]), float(means[1]), meter.db, len(scores))
