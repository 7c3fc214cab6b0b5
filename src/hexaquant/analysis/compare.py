"""Comparison of FP32, simulation and target over many samples, streamed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hexaquant.analysis.metrics import Metric
from hexaquant.core.metrics import Sqnr

BACKENDS = ("fp32", "sim", "target")
_PAIRS = (("fp32", "sim"), ("sim", "target"), ("fp32", "target"))


@dataclass
class OutputMeter:
    """Error measures of one output. ``step``: its quantization step, None when it is float on the target."""

    name: str
    step: float | None
    pairs: dict[tuple[str, str], Sqnr] = field(default_factory=lambda: {pair: Sqnr() for pair in _PAIRS})
    max_error: float = 0.0
    agree: int = 0
    classified: int = 0

    def add(self, values: Mapping[str, np.ndarray]) -> None:
        """One sample: backend -> output array, without the batch axis."""
        for (a, b), meter in self.pairs.items():
            meter.add(values[a], values[b])
        sim, target = np.asarray(values["sim"], np.float64), np.asarray(values["target"], np.float64)
        if sim.size:
            self.max_error = max(self.max_error, float(np.abs(sim - target).max()))
        if sim.ndim == 1 and sim.size > 1:
            self.classified += 1
            self.agree += int(sim.argmax() == target.argmax())

    def result(self) -> dict[str, Any]:
        """The entry of ``verify.json``; infinite SQNR (identical) and unknown values are null."""
        dbs = {f"{a}_vs_{b}_sqnr_db": finite(meter.db) for (a, b), meter in self.pairs.items()}
        return {
            "name": self.name,
            **dbs,
            "sim_vs_target_max_lsb": None if self.step is None else round(self.max_error / self.step, 3),
            "top1_agreement_sim_target": self.agree / self.classified if self.classified else None,
        }


def finite(value: float) -> float | None:
    """``value`` rounded for a report, or None when it is infinite or NaN (JSON has neither)."""
    return round(value, 3) if math.isfinite(value) else None


class Comparison:
    """Collects samples and gives the figures of ``verify.json``."""

    def __init__(self, steps: Mapping[str, float | None], metric: Metric | None) -> None:
        self.meters = {name: OutputMeter(name, step) for name, step in steps.items()}
        self.metric = metric
        self.samples = 0
        self._scores: dict[str, list[float]] = {backend: [] for backend in BACKENDS}

    def add(self, outputs: Mapping[str, Mapping[str, np.ndarray]], label: Any = None) -> None:
        """One sample: backend -> output name -> array without the batch axis."""
        self.samples += 1
        for name, meter in self.meters.items():
            meter.add({backend: outputs[backend][name] for backend in BACKENDS})
        if self.metric is not None and label is not None:
            for backend in BACKENDS:
                self._scores[backend].append(float(self.metric(outputs[backend], label)))

    def outputs(self) -> list[dict[str, Any]]:
        return [meter.result() for meter in self.meters.values()]

    def scores(self) -> dict[str, float | None]:
        """Mean score of each backend, None without labels."""
        return {b: sum(s) / len(s) if s else None for b, s in self._scores.items()}

    def flips(self) -> dict[str, int]:
        """Paired flips of FP32 against target: samples that got worse, and that got better."""
        pairs = list(zip(self._scores["fp32"], self._scores["target"], strict=True))
        return {"worse": sum(t < f for f, t in pairs), "better": sum(t > f for f, t in pairs)}
