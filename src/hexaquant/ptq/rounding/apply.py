"""Weight rounding on a quantized model: one walk, each layer rounded on what the layers before it now give.

Afterwards the parameters of the model are values on their grids, so that nothing but the encoding's own rounding
stands between them and the target's integers, and each layer's bias takes up the mean error of its output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hexaquant.core.events import Events
from hexaquant.core.grid import PerTensor
from hexaquant.ptq.rounding.moments import Gram, HeldOut, Inputs, Moments
from hexaquant.ptq.rounding.solve import PLENTY, Method, Problem, solve
from hexaquant.ptq.rounding.walk import walk
from hexaquant.sim.calibrate import protect_from_overflow, safe_weight_scales
from hexaquant.sim.layers import Layer, find_layers
from hexaquant.sim.model import QuantizedModel

HELD_OUT = 8
"""One sample in so many is held out: no fit sees it, errors are measured on it."""

HELD_COLUMNS = 2048
"""Held-out columns that are kept, at most."""

FIRST = 64
"""Samples that all layers see; those with few columns a sample see more."""


@dataclass(frozen=True)
class LayerReport:
    """One rounded layer. Errors: mean squared output error over the outputs' variance, on held-out samples.

    ``error_nearest``: with each weight rounded to its nearest on the calibrated grid; ``error``: as rounded now; both
    with the best bias. ``worst_channel``: largest error of a single output channel. ``shrinkage``: rho and
    tau of moments.shrunk; rho 1 = without data.
    """

    layer: str
    weight: str
    error_nearest: float
    error: float
    worst_channel: float
    shrinkage: tuple[float, float]
    columns: int


def round_weights(
    model: QuantizedModel,
    batches: Iterable[Mapping[str, Any]],
    method: Method,
    *,
    samples: int = 256,
    columns: int = 8192,
    seed: int = 0,
    events: Events | None = None,
) -> tuple[int, list[LayerReport]]:
    """Round all weights of ``model`` (calibrated) in place; returns the number of samples and a report a layer.

    ``columns``: outputs of a layer that its moments are taken from, at least (8 a weight of a row where there are as
    many); ``samples``: upper limit; a layer that has enough outputs after FIRST samples stops there; ``seed``:
    of the choice of positions. Peak memory does not depend on ``samples``.
    """
    layers = find_layers(model)
    rounder = Rounder(model, layers, method, columns, seed)
    title = "round weights"
    seen = walk(model, batches, layers, rounder, samples=samples, first=FIRST, title=title, events=events)
    protect_from_overflow(model)
    return seen, rounder.reports


class Rounder:
    """The visitor that collects a layer's moments and then rounds it."""

    def __init__(self, model: QuantizedModel, layers: list[Layer], method: Method, columns: int, seed: int) -> None:
        self.model = model
        self.method = method
        self.columns = columns
        self.seed = seed
        self.smallest = safe_weight_scales(model, least=True)
        self.parameters = model.parameters_by_name()
        self.last = {layer.input_key: layer for layer in layers}
        self.inputs: dict[Any, tuple[int, Inputs]] = {}
        self.moments: Moments | None = None
        self.held: list[HeldOut] = []
        self.seen = 0
        self.reports: list[LayerReport] = []

    def wanted(self, layer: Layer, y: Tensor) -> int:
        fits = -(-self._columns(layer) // layer.positions(y))
        return fits + -(-fits // (HELD_OUT - 1))

    def _columns(self, layer: Layer) -> int:
        return max(self.columns, PLENTY * layer.matrix(self.parameters[layer.weight]).shape[2])

    def observe(self, layer: Layer, x: Tensor, y: Tensor, samples: int) -> None:
        fits, held = _split(self.seen, len(y), samples)
        if held:
            self._hold(layer, x[held], y[held], samples)
        if fits:
            self._fit(layer, x[fits], y[fits], samples)
        self.seen += len(y)

    def _fit(self, layer: Layer, x: Tensor, y: Tensor, samples: int) -> None:
        at = self._positions(layer, y, self._columns(layer) // max(samples - samples // HELD_OUT, 1) + 1)
        X = layer.columns(x, y, at)
        Y = layer.outputs(y, at)
        if self.moments is None:
            shared = self.inputs.get(layer.input_key)
            self.collecting = shared is None or shared[0] != samples
            if self.collecting:
                self.inputs[layer.input_key] = samples, Inputs(X, layer.bias is not None)
            self.moments = Moments(self.inputs[layer.input_key][1], Y, layer.bias is not None)
        X = self.moments.inputs.shifted(X)
        if self.collecting:
            self.moments.inputs.update(X)
        self.moments.update(X, Y)

    def _hold(self, layer: Layer, x: Tensor, y: Tensor, samples: int) -> None:
        at = self._positions(layer, y, max(HELD_COLUMNS // max(samples // HELD_OUT, 1), 1))
        self.held.append(HeldOut(layer.columns(x, y, at), layer.outputs(y, at)))

    def _positions(self, layer: Layer, y: Tensor, wanted: int) -> Tensor:
        """``wanted`` different positions of one sample's outputs, or all; the same for layers with the same input."""
        total = layer.positions(y)
        if wanted >= total:
            return torch.arange(total)
        return torch.randperm(total, generator=torch.Generator().manual_seed(self.seed + self.seen))[:wanted]

    def finish(self, layer: Layer) -> None:
        assert self.moments is not None
        if self.collecting:
            self.moments.inputs.finish()
        gram = self.moments.gram()
        held = None
        if self.held:
            held = HeldOut(torch.cat([h.X for h in self.held], 2), torch.cat([h.Y for h in self.held], 2))
        self._round(layer, gram, held)
        if self.last[layer.input_key] is layer:
            del self.inputs[layer.input_key]
        self.moments = None
        self.held = []
        self.seen = 0

    def _round(self, layer: Layer, gram: Gram, held: HeldOut | None) -> None:
        quantizer = self.model.quantizers[layer.weight]
        has_bias = layer.bias is not None
        before = quantizer.encoding
        problem = self._problem(layer, gram, held)
        found = solve(problem, self.method, has_bias)
        plain = torch.round(problem.W / problem.S).clamp_(problem.low, problem.high) * problem.S
        factor = found.integers.S[:, :, :1] / problem.S[:, :, :1]
        factor = factor.flatten()[0] if problem.one_scale else factor.reshape(-1, *(1,) * (before.scale.dim() - 1))
        quantizer.encoding = replace(before, scale=(before.scale * factor).float())
        q = layer.tensor(found.integers.Q) - before.grid.symmetric_offset
        Wq = quantizer.encoding.dequantize(q)
        self.parameters[layer.weight].copy_(Wq)
        matrix = layer.matrix(Wq)
        if layer.bias is not None:
            bias = self.parameters[layer.bias]
            bias.copy_(gram.bias(matrix).reshape(bias.shape))
        power = (gram.power if held is None else held.power()).clamp(min=1e-12)
        error_nearest, error = (problem.error(m, has_bias) for m in (plain, matrix))
        self.reports.append(
            LayerReport(
                layer.name,
                layer.weight,
                _relative(error_nearest, power),
                _relative(error, power),
                float((error / power.clamp(min=1e-3 * float(power.mean()))).max()),
                found.shrinkage,
                gram.n,
            )
        )

    def _problem(self, layer: Layer, gram: Gram, held: HeldOut | None) -> Problem:
        encoding = self.model.quantizers[layer.weight].encoding
        w = self.original(layer)
        one_scale = isinstance(encoding.grid.granularity, PerTensor)
        W = layer.matrix(w)
        S = layer.matrix(encoding.expanded(w.shape)[0].expand(w.shape))
        least = self.smallest.get(layer.weight)
        smallest = None
        if least is not None:
            smallest = (least.expand(W.shape[0] * W.shape[1]) if one_scale else least).reshape(*W.shape[:2], 1)
        half = encoding.grid.levels // 2
        return Problem(W, S, gram, held, -half, half - 1, one_scale, smallest)

    def original(self, layer: Layer) -> Tensor:
        """The weight of the float network."""
        value = self.model.source_graph.initializers[layer.weight].const_value
        assert value is not None
        return torch.tensor(value.numpy())


def _split(seen: int, size: int, samples: int) -> tuple[list[int], list[int]]:
    """Which of the next ``size`` samples are fitted to and which are held out; with one sample nothing is."""

    def is_held(i: int) -> bool:
        return i % HELD_OUT == HELD_OUT - 1 if samples >= HELD_OUT else i == samples - 1 and samples > 1

    fits = [i for i in range(size) if not is_held(seen + i)]
    return fits, [i for i in range(size) if is_held(seen + i)]


def _relative(error: Tensor, power: Tensor) -> float:
    return float(error.sum() / power.sum())
