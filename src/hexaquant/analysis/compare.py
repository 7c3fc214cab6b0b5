"""Comparison of FP32, simulation and target over many samples, streamed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hexaquant.analysis.metrics import Metric
from hexaquant.core.metrics import Sqnr
from hexaquant.ir.output_slices import Slice

BACKENDS = ("fp32", "sim", "target")
_PAIRS = (("fp32", "sim"), ("sim", "target"), ("fp32", "target"))


UNLIKE = 16.0
"""Ratio of the largest values of two parts of an output from which one grid for both is worth a look."""


@dataclass
class SliceMeter:
    """Error measures of a part of an output that a Concat joined; ``peak``: largest |x| in FP32, ``found``: there."""

    of: Slice
    pairs: dict[tuple[str, str], Sqnr] = field(default_factory=lambda: {pair: Sqnr() for pair in _PAIRS})
    peak: float = 0.0
    found: float = 0.0

    def add(self, values: Mapping[str, np.ndarray]) -> None:
        """One sample, as of the whole output."""
        parts = {backend: self._part(array) for backend, array in values.items()}
        for (a, b), meter in self.pairs.items():
            meter.add(parts[a], parts[b])
        self.peak = max(self.peak, float(np.abs(parts["fp32"]).max(initial=0)))
        self.found = max(self.found, float(np.abs(parts["target"]).max(initial=0)))

    def _part(self, array: np.ndarray) -> np.ndarray:
        index: list[slice] = [slice(None)] * array.ndim
        index[self.of.axis] = slice(self.of.start, self.of.stop)
        return array[tuple(index)]

    def result(self) -> dict[str, Any]:
        place: dict[str, Any] = {"name": self.of.name, "layer": self.of.layer, "concat": self.of.concat}
        place |= {"axis": self.of.axis, "start": self.of.start, "stop": self.of.stop}
        dbs = {f"{a}_vs_{b}_sqnr_db": finite(meter.db) for (a, b), meter in self.pairs.items()}
        return place | {"peak": float(f"{self.peak:.4g}"), "all_zero_on_target": self.found == 0 < self.peak} | dbs


@dataclass
class OutputMeter:
    """Error measures of one output. ``step``: its quantization step, None when it is float on the target.

    ``slices``: the parts that a Concat joined.
    """

    name: str
    step: float | None
    slices: tuple[Slice, ...] = ()
    pairs: dict[tuple[str, str], Sqnr] = field(default_factory=lambda: {pair: Sqnr() for pair in _PAIRS})
    max_error: float = 0.0
    agree: int = 0
    classified: int = 0
    values: int = 0
    peak: float = 0.0
    found: float = 0.0
    parts: list[SliceMeter] = field(init=False)

    def __post_init__(self) -> None:
        self.parts = [SliceMeter(each) for each in self.slices]

    def add(self, values: Mapping[str, np.ndarray]) -> None:
        """One sample: backend -> output array, without the batch axis."""
        for (a, b), meter in self.pairs.items():
            meter.add(values[a], values[b])
        for part in self.parts:
            part.add(values)
        self.values = int(np.size(values["fp32"]))
        self.peak = max(self.peak, float(np.abs(values["fp32"]).max(initial=0)))
        self.found = max(self.found, float(np.abs(values["target"]).max(initial=0)))
        sim = np.asarray(values["sim"], np.float64)
        target = np.asarray(values["target"], np.float64)
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
            "values": self.values,
            "all_zero_in_fp32": self.peak == 0,
            "all_zero_on_target": self.found == 0 < self.peak,
            **dbs,
            "sim_vs_target_max_lsb": None if self.step is None else round(self.max_error / self.step, 3),
            "top1_agreement_sim_target": self.agree / self.classified if self.classified else None,
        } | self._unlike()

    def _unlike(self) -> dict[str, Any]:
        """The parts, where their ranges are unlike or one is dead on the target."""
        peaks = [part.peak for part in self.parts if part.peak > 0]
        results = [part.result() for part in self.parts]
        dead = any(result["all_zero_on_target"] for result in results)
        return {"slices": results} if peaks and (dead or max(peaks) > UNLIKE * min(peaks)) else {}


def finite(value: float) -> float | None:
    """``value`` rounded for a report, or None when it is infinite or NaN (JSON has neither)."""
    return round(value, 3) if math.isfinite(value) else None


class Comparison:
    """Collects samples and gives the figures of ``verify.json``."""

    def __init__(
        self,
        steps: Mapping[str, float | None],
        metric: Metric | None,
        slices: Mapping[str, tuple[Slice, ...]] | None = None,
    ) -> None:
        parts = slices or {}
        self.meters = {name: OutputMeter(name, step, parts.get(name, ())) for name, step in steps.items()}
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
