"""Empirical bias correction: the quantized network's mean output of each layer is moved back onto the float one's.

    b_c <- b_c + E[y_c] - E[y~_c]

with y the float and y~ the quantized layer output before its activation, c the output channel, the mean over
samples and positions. Layers are corrected in order, each seeing the inputs of the already corrected ones. The float
side has the parameters of the graph that the model was built from, whatever earlier steps made of them since.

Paper: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019
(arXiv:1906.04721), section 4.2, the empirical variant. Legal for Conv, ConvTranspose and Gemm with a bias that
no other operator shares. One pass: float and quantized network run in lock-step, operator by operator, so that
only live tensors of the few samples are held.

With ``refit_gain`` each channel is fitted in closed form, y ~ g y~ + s by least squares: the scale of the weight takes
up g, the bias s. That also gives back the size that clipped inputs and rounded weights have lost. The weights become
values on their grids, so that their integers stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from hexaquant.core.events import Events
from hexaquant.core.grid import PerChannel
from hexaquant.ptq.lockstep.live import Env
from hexaquant.ptq.lockstep.machine import Machine
from hexaquant.ptq.lockstep.samples import gather, split_batches, takes_batches
from hexaquant.ptq.target_offsets import along_channels, before_activation
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.quantizer import BiasQuantizer

GAINS = (0.7, 1.4)
"""Gains beyond these are not a matter of rounding."""
RIDGE = 1e-3
"""Pull of the gain towards 1, as part of the channels' mean power."""


@dataclass(frozen=True)
class LayerReport:
    """One corrected layer: largest shift, mean squared error of its output before and after, gain farthest from 1."""

    layer: str
    largest_shift: float
    mse_before: float
    mse_after: float
    largest_gain: float = 1.0


@torch.no_grad()
def correct_biases(
    model: QuantizedModel,
    batches: Iterable[Mapping[str, Any]],
    *,
    samples: int = 32,
    offsets: Mapping[str, Tensor] | None = None,
    refit_gain: bool = False,
    events: Events | None = None,
) -> list[LayerReport]:
    """Correct the biases of ``model`` (calibrated, quantizers on) in place on the first ``samples`` samples.

    ``offsets``: tensor name -> (C,) what the target computes more than the simulation does, on average
    (ptq/target_offsets.py): then it is the target's mean error that goes. ``refit_gain``: fit gains, too.
    """
    machine, biases = _Machine(model, offsets or {}), _bias_of_output(model)
    chunks = list(split_batches(batches, samples))
    env = machine.inputs(gather(chunks, samples if takes_batches(model, chunks) else 1))
    reports = []
    for node in (events or Events()).track(machine.nodes, "bias correction"):
        machine.floating(node, env)
        machine.quantized(node, env)
        bias_name = biases.get(node.meta.get("untapped", node.meta.get("value", "")))
        if bias_name is not None and node.op == "call_function":
            before = float((env.float[node] - env.quant[node]).square().mean())
            gain = _refit_gain(model, bias_name, node, env) if refit_gain else 1.0
            shift, after = _correct(machine, bias_name, node, env)
            reports.append(LayerReport(model.quantizers[bias_name].plan.layer, shift, before, after, gain))
        machine.free(node, env)
    return reports


def _refit_gain(model: QuantizedModel, bias_name: str, node: fx.Node, env: Env) -> float:
    """Multiply the scales of the layer's weight by the gain of each channel; the one farthest from 1."""
    weight = model.quantizers[bias_name].plan.weight or ""
    quantizer, parameters = model.quantizers[weight], model.parameters_by_name()
    layout = quantizer.encoding.grid.granularity
    if not isinstance(layout, PerChannel) or len(model.source_graph.value(weight).uses()) != 1:
        return 1.0
    wanted, got = env.float[node], env.quant[node]
    axis = _channel_axis(model, bias_name, wanted)
    bias = model.quantizers[bias_name](parameters[bias_name]).reshape(
        [-1 if d == axis else 1 for d in range(got.dim())]
    )
    gain = channel_gains(got - bias, wanted, axis)
    env.quant[node] = (got - bias) * gain.reshape(bias.shape) + bias
    w = parameters[weight]
    w.copy_(quantizer(w) * gain.reshape([-1 if d == layout.axis % w.dim() else 1 for d in range(w.dim())]))
    quantizer.encoding = replace(quantizer.encoding, scale=quantizer.encoding.scale * gain)
    return float(gain[(gain - 1).abs().argmax()])


def channel_gains(got: Tensor, wanted: Tensor, axis: int) -> Tensor:
    """(C,) g that minimizes |wanted - g got - s|^2 for each channel, within GAINS; 1 where ``got`` hardly varies."""
    x, y = (t.movedim(axis, 0).flatten(1) for t in (got, wanted))
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    power = x.square().mean(1)
    ridge = RIDGE * power.mean().clamp(min=1e-20)
    return (((x * y).mean(1) + ridge) / (power + ridge)).clamp(*GAINS)


def _bias_of_output(model: QuantizedModel) -> dict[str, str]:
    """Output value of each layer that has a correctable bias -> name of that bias."""
    result: dict[str, str] = {}
    uses: dict[str, int] = {}
    for node in model.source_graph.nodes:
        for value in node.inputs[2:] if node.op_type in ("Conv", "ConvTranspose", "Gemm") else ():
            if value is not None and isinstance(model.quantizers.get(value.name or ""), BiasQuantizer):
                uses[value.name or ""] = uses.get(value.name or "", 0) + 1
                result[node.outputs[0].name or ""] = value.name or ""
    return {output: bias for output, bias in result.items() if uses[bias] == 1}


def _correct(machine: _Machine, bias_name: str, node: fx.Node, env: Env) -> tuple[float, float]:
    """Shift the bias; (largest shift, mean squared error that is left)."""
    model = machine.model
    wanted, got = env.float[node], env.quant[node]
    axis = _channel_axis(model, bias_name, wanted)
    dims = [d for d in range(wanted.dim()) if d != axis]
    view = [1] * wanted.dim()
    view[axis] = -1
    name = node.meta.get("untapped") or node.meta["value"]
    own = before_activation(model.plan, machine.offsets, name, got, axis)
    error = wanted - got if own is None else wanted - got - own.reshape(view)
    shift = error.mean(dims)
    after = float((error - shift.reshape(view)).square().mean())
    parameter = model.parameters_by_name()[bias_name]
    parameter.add_(shift.reshape(parameter.shape))
    env.quant[node] = got + shift.reshape(view)
    return float(shift.abs().max()), after


def _channel_axis(model: QuantizedModel, bias_name: str, output: Tensor) -> int:
    weight = model.quantizers[bias_name].plan.weight or ""
    granularity = model.plan[weight].grid.granularity if model.plan[weight].grid else None  # type: ignore[union-attr]
    return 1 if output.dim() > 2 or isinstance(granularity, PerChannel) else output.dim() - 1


class _Machine(Machine):
    """A Machine whose quantized side is the target's: what that computes more is added to each tensor."""

    def __init__(self, model: QuantizedModel, offsets: Mapping[str, Tensor]) -> None:
        super().__init__(model)
        self.offsets = offsets
        self._taps: dict[str, str] = model.network.meta["tap_names"]

    def quantized(self, node: fx.Node, env: Env) -> None:
        super().quantized(node, env)
        offset = self.offsets.get(self._taps.get(str(node.target), "")) if node.op == "call_module" else None
        if offset is not None:
            env.quant[node] = env.quant[node] + along_channels(offset, env.quant[node])
