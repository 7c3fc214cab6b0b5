"""How much more noise an encoding makes than its number of bits needs to, on the values of the FP32 network.

    excess = 10 log10( E[(Q_e(x) - x)^2] / E[(Q_b(x) - x)^2] )        b: the best encoding of the same grid

A good encoding lies within a few dB of the best, whatever the tensor; a scale four times too large loses 12 dB, one
four times too small or a shifted offset clips and loses more. For activations both come from the histogram in closed
form (core/observers/noise.py); for weights from the layer's output, run on FP32 inputs with the weight as it is
quantized, or rounded to the nearest on its encoding, whichever is better, and as it best could be. For the integers
that a rounding step chose for the sake of later layers make more noise here, and less where it counts; and an encoding
whose scale took up a gain would clip the weight as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from hexaquant.analysis.sensitivity import Site
from hexaquant.core.encoding import Encoding, encoding_from_range, encoding_of
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.observers.histogram import Histogram
from hexaquant.core.observers.histogram_observer import search_mse
from hexaquant.core.observers.noise import expected_noise
from hexaquant.core.observers.weight_mse import mse_weight_encoding
from hexaquant.ptq.bias_correction import GAINS as FITTED
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.walk import Walk

LEAST_SQNR_DB = 90.0
"""Noise this far below the signal is none: its excess says nothing."""

GAINS = (1 / FITTED[1], 1 / FITTED[0])
"""What undoes the gains of a channel that a step may have chosen; an encoding that needs more is wrong."""


def activation_excess_db(histogram: Histogram, encoding: Encoding, wanted: Encoding | None = None) -> float:
    """Of a tensor with one scale. ``wanted``: the encoding to compare with instead of the best, where that is fixed."""
    if encoding.grid.is_float or histogram.range.low >= histogram.range.high:
        return 0.0
    edges, counts = histogram.trimmed()
    signal = float((counts * ((edges[1:] + edges[:-1]) / 2).square()).sum())
    low, high = search_mse(histogram, encoding.grid)
    best = encoding_from_range(torch.tensor(low), torch.tensor(high), encoding.grid)
    noises = [_noise(edges, counts, e) for e in (encoding, wanted or best)]
    return ratio_db(noises[0], noises[1], signal)


def _noise(edges: Tensor, counts: Tensor, encoding: Encoding) -> float:
    scale = encoding.scale.double().reshape(1)
    offset = encoding.offset.double().reshape(1)
    return float(expected_noise(edges, counts, scale, offset, encoding.grid.levels))


def ratio_db(noise: float, best: float, signal: float) -> float:
    """10 log10 of ``noise`` over ``best``, neither counted as less than LEAST_SQNR_DB below ``signal``."""
    floor = max(signal * 10 ** (-LEAST_SQNR_DB / 10), 1e-300)
    return 10 * math.log10(max(noise, floor) / max(best, floor))


class Regression:
    """Sums over samples, for each channel, of what is left of wanted - g got - s at the best gain g and shift s."""

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.count = 0
        self.sums = torch.zeros(5, 0, dtype=torch.float64)

    def add(self, got: Tensor, wanted: Tensor) -> None:
        x, y = (t.double().movedim(self.axis, 0).flatten(1) for t in (got, wanted))
        terms = (x, y, x * x, x * y, y * y)
        sums = torch.stack([term.sum(1) for term in terms])
        self.sums = self.sums + sums if self.count else sums
        self.count += x.shape[1]

    def residual(self) -> float:
        """Squared error over all channels; gains are held within GAINS."""
        if not self.count:
            return 0.0
        x, y, xx, xy, yy = self.sums
        xx = xx - x * x / self.count
        xy = xy - x * y / self.count
        yy = yy - y * y / self.count
        gain = (xy / xx.clamp(min=1e-300)).clamp(*GAINS)
        return float((yy - 2 * gain * xy + gain.square() * xx).clamp(min=0).sum())

    def power(self) -> float:
        """Sum of the squares of what is wanted."""
        return float(self.sums[4].sum()) if self.count else 0.0


class WeightNoise:
    """Of one layer's output over the samples: error by its weight as quantized, by the nearest integers on its encoding
    and by the best encoding, against the signal."""

    def __init__(self, axis: int) -> None:
        self.quantized, self.nearest, self.best = Regression(axis), Regression(axis), Regression(axis)

    @property
    def excess_db(self) -> float:
        noise = min(self.quantized.residual(), self.nearest.residual())
        return ratio_db(noise, self.best.residual(), self.quantized.power())


@torch.no_grad()
def collect_weight_noise(
    model: QuantizedModel, floats: Mapping[str, Tensor], sites: Iterable[Site], batches: Iterable[Mapping[str, Any]]
) -> dict[str, WeightNoise]:
    """Weight -> what its encoding does to the first layer that reads it. ``batches``: arrays by input name."""
    walk = Walk(model.network, floats, on=False)
    parameters = model.parameters_by_name()
    weights = [site.name for site in sites if site.kind == "weight"]
    flips = {name: frozenset([walk.taps[name]]) for name in weights}
    starting: dict[int, list[str]] = {}
    for name in weights:
        starting.setdefault(walk.start(flips[name]), []).append(name)
    nearest = {}
    best = {}
    for name in weights:
        value = floats.get(name, parameters[name]).detach()
        encoding = model.quantizers[name].encoding
        nearest[name] = {walk.taps[name]: fake_quantize(value, encoding)}
        best[name] = {walk.taps[name]: fake_quantize(value, best_encoding(value, encoding))}
    found = {name: WeightNoise(_channel_axis(model, name)) for name in weights}
    for batch in batches:
        for index, node, live in walk.run({name: torch.as_tensor(value) for name, value in batch.items()}):
            for name in starting.get(index, ()):
                wanted = _first(walk.value(node, live))
                meter = found[name]
                meter.quantized.add(_first(walk.value(node, live, flips[name])), wanted)
                meter.nearest.add(_first(walk.value(node, live, replaced=nearest[name])), wanted)
                meter.best.add(_first(walk.value(node, live, replaced=best[name])), wanted)
    return found


def _first(value: Any) -> Tensor:
    """The output that a layer is judged by: LayerNormalization also gives means and deviations."""
    return value[0] if isinstance(value, tuple) else value


def best_encoding(value: Tensor, encoding: Encoding) -> Encoding:
    """The usual encoding of a constant on the same grid: min-max, below 8 bits the least error."""
    narrow = not encoding.grid.is_float and encoding.grid.bits < 8
    return mse_weight_encoding(value, encoding.grid) if narrow else encoding_of(value, encoding.grid)


def _channel_axis(model: QuantizedModel, weight: str) -> int:
    """The axis of the layer's output that has the weight's output channels."""
    node = next(iter(model.source_graph.value(weight).uses())).node
    return 1 if node.op_type in ("Conv", "ConvTranspose") else -1
