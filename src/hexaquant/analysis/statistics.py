"""What the values of each quantized tensor look like, streamed: range, moments, histogram, clipping, outlier channels.
Activations in the FP32 network (after a merged activation function), weights as they are in FP32.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from hexaquant.analysis.sensitivity import Kind, Site
from hexaquant.core.encoding import Encoding
from hexaquant.core.grid import Lpbq, PerBlock, PerChannel
from hexaquant.core.observers.histogram import Histogram
from hexaquant.ptq.target_offsets import channel_axis
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.walk import Walk

BINS = 2048
SHOWN_BINS = 64
OUTLIER = 8.0
"""A channel whose largest magnitude is this many times the median channel's is an outlier."""
LISTED = 8
"""At most so many outlier channels of a tensor are listed, the worst first."""


@dataclass(frozen=True)
class Outlier:
    """``channel`` reaches ``ratio`` times as far as the median channel."""

    channel: int
    ratio: float


@dataclass(frozen=True)
class TensorStatistics:
    """One tensor over all samples. ``shape``: of one sample, without the batch; ``clipped_fraction``: of its values
    beyond the encoding by more than half a step; ``histogram``: low, high and counts of equal bins.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    min: float
    max: float
    mean: float
    std: float
    encoding_min: float | None
    encoding_max: float | None
    clipped_fraction: float
    histogram: dict[str, Any]
    outlier_channels: tuple[Outlier, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"shape": list(self.shape)}


class TensorMeter:
    """Collects one tensor. ``axis``: of its channels."""

    def __init__(self, encoding: Encoding, axis: int) -> None:
        self.encoding = encoding
        self.axis = axis
        self.histogram = Histogram(BINS)
        self.shape: tuple[int, ...] = ()
        self.count = 0
        self.clipped = 0
        self.total = 0.0
        self.squares = 0.0
        self.reach = torch.zeros(0)

    def add(self, x: Tensor) -> None:
        """A batch, or the whole of a constant."""
        self.histogram.add(x)
        self.shape = tuple(x.shape)
        self.count += x.numel()
        self.total += float(x.sum())
        self.squares += float(x.square().sum())
        self.clipped += int(self._beyond(x))
        if x.dim() > 1:
            others = [axis for axis in range(x.dim()) if axis != self.axis % x.dim()]
            reach = torch.maximum(x.amax(others), -x.amin(others))
            self.reach = torch.maximum(self.reach, reach) if self.reach.numel() == reach.numel() else reach

    def _beyond(self, x: Tensor) -> int:
        encoding = self.encoding
        if encoding.grid.is_float:
            return int((x.abs() > torch.finfo(torch.float16).max).sum())
        if encoding.scale.dim() == 0:
            half = float(encoding.scale) / 2
            inside = torch.clamp(x, float(encoding.min) - half, float(encoding.max) + half)
            return int(torch.count_nonzero(x - inside))
        scale, offset = encoding.expanded(x.shape)
        steps = x / scale
        return int(((steps < offset - 0.5) | (steps > offset + encoding.grid.levels - 0.5)).sum())

    def statistics(self, name: str, kind: Kind) -> TensorStatistics:
        """What was seen so far."""
        mean = self.total / max(self.count, 1)
        low = self.histogram.range.low
        high = self.histogram.range.high
        is_float = self.encoding.grid.is_float
        return TensorStatistics(
            name,
            kind,
            self.shape if kind == "weight" else self.shape[1:],
            low,
            high,
            mean,
            math.sqrt(max(self.squares / max(self.count, 1) - mean**2, 0.0)),
            None if is_float else float(self.encoding.min.min()),
            None if is_float else float(self.encoding.max.max()),
            self.clipped / max(self.count, 1),
            shown_histogram(self.histogram),
            tuple(outliers(self.reach)),
        )


def outliers(reach: Tensor) -> list[Outlier]:
    """Channels that reach far beyond the median one, worst first. ``reach``: (C,) largest magnitudes."""
    alive = reach[reach > 0]
    if alive.numel() < 3:
        return []
    ratios = reach / alive.median()
    worst = torch.argsort(ratios, descending=True)[:LISTED].tolist()
    return [Outlier(int(i), round(float(ratios[i]), 3)) for i in worst if float(ratios[i]) >= OUTLIER]


def shown_histogram(histogram: Histogram) -> dict[str, Any]:
    """At most SHOWN_BINS equal bins; the zeros are in the bin that touches zero from below."""
    edges, counts = histogram.trimmed(tight=False)
    counts = counts.clone()
    counts[max(int((edges[1:] <= 0).sum()) - 1, 0)] += histogram.zeros
    width = float(edges[1] - edges[0])
    each = math.ceil(counts.numel() / SHOWN_BINS)
    padded = torch.nn.functional.pad(counts, (0, -counts.numel() % each)).reshape(-1, each).sum(1)
    low = float(edges[0])
    return {"low": low, "high": low + width * each * padded.numel(), "counts": [round(c) for c in padded.tolist()]}


@torch.no_grad()
def collect_meters(
    model: QuantizedModel, floats: Mapping[str, Tensor], sites: tuple[Site, ...], batches: Iterable[Mapping[str, Any]]
) -> dict[str, TensorMeter]:
    """Tensor -> its meter after all ``batches`` (arrays by input name) went through the FP32 network."""
    walk = Walk(model.network, floats, on=False)
    parameters = model.parameters_by_name()
    meters: dict[str, TensorMeter] = {}
    watched = {walk.taps[site.name]: site.name for site in sites if site.kind == "activation"}
    for site in sites:
        encoding = model.quantizers[site.name].encoding
        if site.kind == "weight":
            data = floats.get(site.name, parameters[site.name]).detach()
            meters[site.name] = TensorMeter(encoding, weight_axis(encoding))
            meters[site.name].add(data)
    for batch in batches:
        for _, node, live in walk.run({name: torch.as_tensor(value) for name, value in batch.items()}):
            name = watched.get(node)
            if name is None:
                continue
            value = walk.value(node, live)
            meters.setdefault(name, TensorMeter(model.quantizers[name].encoding, channel_axis(value.dim()))).add(value)
    return meters


def weight_axis(encoding: Encoding) -> int:
    """The axis of a constant that its scales go by; the first where it has one scale."""
    where = encoding.grid.granularity
    if isinstance(where, PerChannel):
        return where.axis
    return where.channel_axis if isinstance(where, PerBlock | Lpbq) else 0
