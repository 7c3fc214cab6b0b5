"""What each quantizer alone does to the outputs: alone on (everything else FP32) and alone off (everything else
quantized).

Figures are of the outputs against FP32: SQNR = -10 log10 of the mean over outputs of noise / signal, and the user's
metric. Of a weight the int32 bias belongs to it: with the weight quantized the bias is the quantized, corrected one,
with the weight in FP32 the FP32 one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, fx

from hexaquant.analysis.metrics import Metric, each_label, each_part
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.quantizer import ActivationQuantizer, BiasQuantizer
from hexaquant.sim.walk import NOTHING, Flip, Walk

Mode = Literal["on", "off"]
Kind = Literal["activation", "weight"]
MODES: tuple[Mode, ...] = ("on", "off")


@dataclass(frozen=True)
class Site:
    """One quantizer. ``tensors``: itself, and of a weight also the biases whose scale it makes."""

    name: str
    kind: Kind
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """All that a worker needs, as it can be pickled. ``meta``: the network's own, which pickling would lose;
    ``outputs``: names in order."""

    network: fx.GraphModule
    meta: Mapping[str, Any]
    floats: Mapping[str, Tensor]
    sites: tuple[Site, ...]
    outputs: tuple[str, ...]
    metric: str | Metric | None = None


@dataclass(frozen=True)
class Task:
    """One batch in one mode. ``batch``: arrays by input name; ``labels``: one per sample, or None; ``count``: its
    samples, 0 for as many as the first output has rows."""

    mode: Mode
    index: int
    batch: Mapping[str, np.ndarray]
    labels: np.ndarray | None
    count: int = 0

    @property
    def key(self) -> str:
        return f"{self.mode}-{self.index}"


def make_study(model: QuantizedModel, floats: Mapping[str, Tensor], metric: str | Metric | None) -> Study:
    """The study of all quantizers of ``model``; ``floats``: FP32 values of its constants (analysis/float_values.py)."""
    network = model.network
    present = set(network.meta["tap_names"].values())
    sites = tuple(site for site in find_sites(model) if site.name in present)
    return Study(network, dict(network.meta), floats, sites, tuple(network.meta["output_names"]), metric)


def find_sites(model: QuantizedModel) -> tuple[Site, ...]:
    """The quantizers of ``model`` in its order; biases go with the weight that their scale comes from."""
    biases: dict[str, list[str]] = {}
    for name, quantizer in model.quantizers.items():
        if isinstance(quantizer, BiasQuantizer):
            biases.setdefault(quantizer.plan.weight or "", []).append(name)
    sites = []
    for name, quantizer in model.quantizers.items():
        if isinstance(quantizer, ActivationQuantizer):
            sites.append(Site(name, "activation", (name,)))
        elif not isinstance(quantizer, BiasQuantizer):
            sites.append(Site(name, "weight", (name, *biases.get(name, ()))))
    return tuple(sites)


class Measurement:
    """Runs tasks of one study; the network is prepared once for each mode."""

    def __init__(self, study: Study, metric: Metric | None) -> None:
        self.study = study
        self.metric = metric
        study.network.meta.update(study.meta)
        self._walks: dict[Mode, Walk] = {}

    @torch.no_grad()
    def run(self, task: Task) -> dict[str, Any]:
        """JSON values: "count", "signal" (of each output), "fp32" and "base" and by name "sites": {"noise", "score"}.

        Noise is summed squared error against FP32, ``score`` the metric's sum over samples.
        """
        inputs = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in task.batch.items()}
        wanted = self._walk("off").finish(inputs)
        walk = self._walk("off" if task.mode == "on" else "on")
        flips = {site.name: self._flip(walk, site) for site in self.study.sites}
        starting = _by_start(walk, flips)
        found: dict[str, dict[str, Any] | None] = {}
        live: dict[fx.Node, Any] = {}
        for index, _, live in walk.run(inputs):
            for name in starting.get(index, ()):
                got = walk.variant(flips[name], index, live)
                found[name] = None if got is None else self._judge(wanted, got, task.labels)
        base = self._judge(wanted, walk.outputs(live), task.labels)
        sites = {name: base if entry is None else entry for name, entry in found.items()}
        signal = [float(part.double().square().sum()) for part in wanted]
        fp32 = self._judge(wanted, wanted, task.labels)
        return {"count": task.count or len(wanted[0]), "signal": signal, "fp32": fp32, "base": base, "sites": sites}

    def _walk(self, base: Mode) -> Walk:
        if base not in self._walks:
            self._walks[base] = Walk(self.study.network, self.study.floats, on=base == "on")
        return self._walks[base]

    def _flip(self, walk: Walk, site: Site) -> Flip:
        return frozenset(walk.taps[name] for name in site.tensors if name in walk.taps) or NOTHING

    def _judge(self, wanted: Sequence[Tensor], got: Sequence[Tensor], labels: np.ndarray | None) -> dict[str, Any]:
        noise = [float((a.double() - b.double()).square().sum()) for a, b in zip(wanted, got, strict=True)]
        return {"noise": noise, "score": None if labels is None else self._score(got, labels)}

    def _score(self, got: Sequence[Tensor], labels: np.ndarray) -> float | None:
        if self.metric is None:
            return None
        arrays = dict(zip(self.study.outputs, (part.numpy() for part in got), strict=True))
        parts = zip(each_part(arrays, len(labels)), each_label(labels), strict=True)
        return float(sum(self.metric(part, label) for part, label in parts))


def _by_start(walk: Walk, flips: Mapping[str, Flip]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name, flip in flips.items():
        found.setdefault(walk.start(flip), []).append(name)
    return found


@dataclass(frozen=True)
class Figure:
    """``sqnr_db`` of the outputs against FP32 (None: identical to it), and the ``metric`` (None without labels)."""

    sqnr_db: float | None
    metric: float | None

    def to_json(self) -> dict[str, float | None]:
        return {"sqnr_db": self.sqnr_db, "metric": self.metric}


def combine(results: Sequence[Mapping[str, Any]], of: str, site: str = "") -> Figure:
    """The figure over all batches of one mode. ``of``: "fp32", "base" or "sites", then of ``site``."""
    entries = [result[of][site] if of == "sites" else result[of] for result in results]
    signal = np.sum([result["signal"] for result in results], axis=0)
    noise = np.sum([entry["noise"] for entry in entries], axis=0)
    ratio = float(np.mean([n / s if s else (math.inf if n else 0.0) for n, s in zip(noise, signal, strict=True)]))
    scores = [entry["score"] for entry in entries]
    count = sum(result["count"] for result in results)
    metric = None if any(score is None for score in scores) else round(sum(scores) / count, 6)
    finite = 0 < ratio < math.inf
    return Figure(round(-10 * math.log10(ratio), 3) if finite else None, metric)
