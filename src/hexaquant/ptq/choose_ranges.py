"""None"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from hexaquant.core.encoding import Encoding, encoding_from_range
from hexaquant.core.events import Events
from hexaquant.core.observers import make_observer
from hexaquant.core.observers.observer import Observer
from hexaquant.ir.input_spec import first_samples, input_specs, sample_count
from hexaquant.ptq.lockstep import CHUNK, Env, Machine
from hexaquant.sim.calibrate import within_clamp
from hexaquant.sim.layers import Layer, find_layers
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.quantizer import ActivationQuantizer

# Candidate encodings of an activation: what several observers propose, and the present range wider or narrower.


def observed(model: QuantizedModel) -> dict[str, ActivationQuantizer]:
    """The quantizers whose range is a choice: those of observed activations on integer grids below 16 bits.

    At 16 bits the step is no concern, but a value beyond the range is: calibration's headroom stays. So does the margin
    of masked scores: the samples need not hold masks.
    """
    return {
        name: quantizer
        for name, quantizer in model.quantizers.items()
        if isinstance(quantizer, ActivationQuantizer)
        and quantizer.plan.how == "observed"
        and quantizer.plan.margin is None
        and quantizer.grid.bits < 16
    }


class _Several:
    """Shows a tensor to several observers."""

    def __init__(self, observers: Mapping[str, Observer]) -> None:
        self.observers = observers

    def update(self, x: Tensor) -> None:
        for observer in self.observers.values():
            observer.update(x)


@torch.no_grad()
def from_observers(
    model: QuantizedModel, batches: Iterable[Mapping[str, Any]], names: Sequence[str], events: Events
) -> dict[str, dict[str, Encoding]]:
    """Tensor name -> observer name -> the encoding it proposes after one pass of the float network over ``batches``.

    Raises InputError for an unknown observer. Quantizers are on afterwards.
    """
    watched = observed(model)
    several = {name: _Several({o: make_observer(o, q.grid) for o in names}) for name, q in watched.items()}
    model.set_state("off")
    try:
        for name, quantizer in watched.items():
            quantizer.observer, quantizer.state = several[name], "observe"  # type: ignore[assignment]
        for batch in events.track(batches, "observe ranges"):
            model(**{name: torch.as_tensor(value) for name, value in batch.items()})
    finally:
        for quantizer in watched.values():
            quantizer.observer = None
        model.set_state("on")
    return {
        name: {o: within_clamp(model.plan[name], found.encoding()) for o, found in several[name].observers.items()}
        for name in watched
    }


def scaled(model: QuantizedModel, factors: Sequence[float]) -> dict[str, dict[str, Encoding]]:
    """Tensor name -> factor as text -> the present encoding with both ends of its range times the factor."""
    result = {}
    for name, quantizer in observed(model).items():
        now = quantizer.encoding
        plan = quantizer.plan
        result[name] = {
            f"{factor:g}": within_clamp(plan, encoding_from_range(now.min * factor, now.max * factor, now.grid))
            for factor in factors
        }
    return result


# Ranges of activations by what they do to the layers that read them, not to the tensor itself.
#
# For each activation x and each candidate encoding e the error is measured where it counts, in the outputs of the
# layers that read x:  E |f(x) - f~(e(x~))|^2,  with f the float layer on the float network's input, f~ the quantized
# one on the quantized network's. Where the layer has a bias the error's mean in each channel does not count: bias
# correction removes it. A tensor that no such layer reads is judged by its own error. Errors of several readers are
# divided by the power of their outputs and added. The criterion is that of SeqMSE (AIMET) and of the output-aware range
# setting in Nagel et al., "A White Paper on Neural Network Quantization" (arXiv:2106.08295), section 3.1.
#
# One pass; all tensors are judged at once under the present encodings of the others.

PRESENT = "as it was"
GAIN = 0.02
"""A candidate must lower the error by this part: less is noise of the samples."""


@dataclass(frozen=True)
class RangeReport:
    """One tensor whose range changed; errors relative to the power of what was measured, summed over its readers."""

    layer: str
    tensor: str
    chosen: str
    error_before: float
    error: float


@dataclass
class _Tally:
    """Summed errors of one tensor by candidate and reader."""

    encodings: dict[str, Encoding]
    readers: list[Layer]
    errors: dict[tuple[str, int], float] = field(default_factory=dict)
    power: dict[int, float] = field(default_factory=dict)

    def add(self, candidate: str, reader: int, error: float) -> None:
        self.errors[candidate, reader] = self.errors.get((candidate, reader), 0.0) + error

    def relative(self, candidate: str) -> float:
        return sum(self.errors[candidate, reader] / max(power, 1e-30) for reader, power in self.power.items())


@torch.no_grad()
def choose_ranges(
    model: QuantizedModel,
    batches: Iterable[Mapping[str, Any]],
    candidates: Mapping[str, Mapping[str, Encoding]],
    *,
    samples: int,
    events: Events | None = None,
) -> tuple[int, list[RangeReport]]:
    """Give each tensor in ``candidates`` the encoding with the least error; the present one stays in a draw.

    Returns the number of samples and a report of each tensor that changed.
    """
    machine = Machine(model)
    quantizers = observed(model)
    tallies = _tallies(model, machine, candidates)
    seen = 0
    specs = input_specs(model.source_graph)
    try:
        for batch in (events or Events()).track(first_samples(batches, specs, samples, CHUNK), "choose ranges"):
            env = machine.inputs(batch)
            seen += sample_count(batch, specs)
            for node in machine.nodes:
                machine.floating(node, env)
                machine.quantized(node, env)
                if node in tallies:
                    _measure(machine, env, node, tallies[node])
                machine.free(node, env)
    finally:
        model.set_state("on")
    reports = []
    for node, tally in tallies.items():
        best = min(tally.encodings, key=tally.relative)
        before = tally.relative(PRESENT)
        after = tally.relative(best)
        if after < (1 - GAIN) * before:
            name = model.network.meta["tap_names"][str(node.target)]
            quantizers[name].encoding = tally.encodings[best]
            reports.append(RangeReport(quantizers[name].plan.layer, name, best, before, after))
    return seen, reports


def _tallies(
    model: QuantizedModel, machine: Machine, candidates: Mapping[str, Mapping[str, Encoding]]
) -> dict[fx.Node, _Tally]:
    names: dict[str, str] = model.network.meta["tap_names"]
    readers: dict[fx.Node, list[Layer]] = {}
    for layer in find_layers(model):
        readers.setdefault(layer.x, []).append(layer)
    found = {}
    for node in machine.nodes:
        name = names.get(str(node.target), "") if node.op == "call_module" else ""
        if name in candidates:
            now = model.quantizers[name].encoding
            others = {label: e for label, e in candidates[name].items() if not e.same_as(now)}
            found[node] = _Tally({PRESENT: now, **others}, readers.get(node, []))
    return found


def _measure(machine: Machine, env: Env, node: fx.Node, tally: _Tally) -> None:
    quantizer = machine.modules[str(node.target)]
    kept = env.quant[node]
    before = quantizer.encoding
    wanted = [machine.value(layer.y, env.float, "off") for layer in tally.readers] or [env.float[node]]
    for index, y in enumerate(wanted):
        tally.power[index] = tally.power.get(index, 0.0) + float(y.double().square().sum())
    source = env.quant[node.all_input_nodes[0]]
    for label, encoding in tally.encodings.items():
        quantizer.encoding = encoding  # type: ignore[assignment]
        quantizer.state = "on"  # type: ignore[assignment]
        env.quant[node] = quantizer(source)
        for index, y in enumerate(wanted):
            layer = tally.readers[index] if tally.readers else None
            got = env.quant[node] if layer is None else machine.value(layer.y, env.quant, "on")
            tally.add(label, index, _error(y - got, layer))
    quantizer.encoding = before  # type: ignore[assignment]
    env.quant[node] = kept


def _error(error: Tensor, layer: Layer | None) -> float:
    total = float(error.double().square().sum())
    if layer is None or layer.bias is None:
        return total
    axis = 1 if layer.is_conv else error.dim() - 1
    rows = error.movedim(axis, 0).flatten(1)
    return total - float((rows.double().mean(1).square() * rows.shape[1]).sum())
