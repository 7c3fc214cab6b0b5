"""Empirical bias correction: the quantized network's mean output of each layer is moved back onto the float one's.

    b_c <- b_c + E[y_c] - E[y~_c]

with y the float and y~ the quantized layer output before its activation, c the output channel, the mean over
samples and positions. Layers are corrected in order, each seeing the inputs of the already corrected ones. The float
side has the parameters of the graph that the model was built from, whatever earlier steps made of them since.

Paper: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019
(arXiv:1906.04721), section 4.2, the empirical variant. Legal for Conv, ConvTranspose and Gemm with a bias that
no other operator shares. One pass: float and quantized network run in lock-step, operator by operator, chunk by chunk,
so that only live tensors of the few samples are held.

With ``refit_gain`` each channel is fitted in closed form, y ~ g y~ + s by least squares: the scale of the weight takes
up g, the bias s. That also gives back the size that clipped inputs and rounded weights have lost. The weights become
values on their grids, so that their integers stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from hexaquant.core.events import Events
from hexaquant.core.grid import PerChannel
from hexaquant.ir.sample_size import samples_to_hold
from hexaquant.ptq.lockstep import Env, Machine, runnable_chunks
from hexaquant.ptq.target_offsets import along_channels, before_activation
from hexaquant.sim.from_file import FROM_FILE
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

    Fewer where they are too large to be held (ir/sample_size.py).

    ``offsets``: tensor name -> (C,) what the target computes more than the simulation does, on average
    (ptq/target_offsets.py): then it is the target's mean error that goes. ``refit_gain``: fit gains, too.
    """
    machine = _Machine(model, offsets or {})
    biases = _bias_of_output(model)
    held = samples_to_hold(model.source_graph, samples)
    envs = [machine.inputs(chunk) for chunk in runnable_chunks(model, batches, held)]
    reports = []
    for node in (events or Events()).track(machine.nodes, "bias correction"):
        for env in envs:
            machine.floating(node, env)
            machine.quantized(node, env)
        bias_name = biases.get(node.meta.get("untapped", node.meta.get("value", "")))
        if bias_name is not None and node.op == "call_function":
            reports.append(_corrected(machine, bias_name, node, envs, refit_gain))
        for env in envs:
            machine.free(node, env)
    return reports


def _corrected(machine: _Machine, bias_name: str, node: fx.Node, envs: list[Env], refit_gain: bool) -> LayerReport:
    """Correct one layer, and its output in ``envs``."""
    axis = _channel_axis(machine.model, bias_name, envs[0].float[node])
    before = None
    gain = 1.0
    if refit_gain:
        before = _errors(node, envs, axis).mean_square()
        gain = _refit_gain(machine, bias_name, node, envs, axis)
    errors = _errors(node, envs, axis)
    before = errors.mean_square() if before is None else before
    shift, after = _shift(machine, bias_name, node, envs, axis, errors)
    return LayerReport(machine.model.quantizers[bias_name].plan.layer, shift, before, after, gain)


@dataclass(frozen=True)
class _Errors:
    """Sums over ``count`` elements of each channel: of the output's errors and of their squares, (C,) float64."""

    total: Tensor
    squares: Tensor
    count: int

    def mean_square(self, shift: Tensor | float = 0.0) -> float:
        """Mean squared error of all channels once ``shift`` (C,) is added to the outputs."""
        left = self.squares - 2 * shift * self.total + self.count * torch.as_tensor(shift).square()
        return float(left.mean().clamp(min=0)) / self.count


def _errors(node: fx.Node, envs: list[Env], axis: int) -> _Errors:
    total = squares = torch.zeros((), dtype=torch.float64)
    for env in envs:
        error = env.float[node] - env.quant[node]
        total = total + _sums(error, axis)
        squares = squares + _sums(error.square_(), axis)
    return _Errors(total, squares, _count([env.quant[node] for env in envs], axis))


def _refit_gain(machine: _Machine, bias_name: str, node: fx.Node, envs: list[Env], axis: int) -> float:
    """Multiply the scales of the layer's weight by the gain of each channel; the one farthest from 1."""
    model = machine.model
    parameters = machine.parameters
    weight = model.quantizers[bias_name].plan.weight or ""
    quantizer = model.quantizers[weight]
    layout = quantizer.encoding.grid.granularity
    if (
        quantizer.plan.observer == FROM_FILE
        or not isinstance(layout, PerChannel)
        or len(model.source_graph.value(weight).uses()) != 1
    ):
        return 1.0
    gain = channel_gains([(env.quant[node], env.float[node]) for env in envs], axis)
    like = envs[0].quant[node]
    bias = model.quantizers[bias_name](parameters[bias_name]).reshape(_view(like, axis))
    for env in envs:
        env.quant[node].sub_(bias).mul_(gain.reshape(bias.shape)).add_(bias)
    w = parameters[weight]
    w.copy_(quantizer(w) * gain.reshape(_view(w, layout.axis)))
    quantizer.encoding = replace(quantizer.encoding, scale=quantizer.encoding.scale * gain)
    return float(gain[(gain - 1).abs().argmax()])


def channel_gains(pairs: Sequence[tuple[Tensor, Tensor]], axis: int) -> Tensor:
    """(C,) g that minimizes |wanted - g got - s|^2 for each channel of the ``pairs`` (got, wanted), chunk by chunk.

    Within GAINS; 1 where ``got`` hardly varies.
    """
    power = along = means = torch.zeros((), dtype=torch.float64)
    for got, _ in pairs:
        means = means + _sums(got, axis)
    means = means / _count([got for got, _ in pairs], axis)
    for got, wanted in pairs:
        x = got - means.to(got.dtype).reshape(_view(got, axis))
        along = along + _sums(x * wanted, axis)
        power = power + _sums(x.square_(), axis)
    ridge = RIDGE * power.mean().clamp(min=1e-20)
    return ((along + ridge) / (power + ridge)).clamp(*GAINS).float()


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


def _shift(
    machine: _Machine, bias_name: str, node: fx.Node, envs: list[Env], axis: int, errors: _Errors
) -> tuple[float, float]:
    """Shift the bias; (largest shift, mean squared error that is left)."""
    model = machine.model
    shift = errors.total / errors.count
    if machine.offsets:
        name = node.meta.get("untapped") or node.meta["value"]
        computed = torch.cat([env.quant[node] for env in envs])
        own = before_activation(model.plan, machine.offsets, name, computed, axis)
        shift = shift if own is None else shift - own
    moved = shift.float()
    parameter = machine.parameters[bias_name]
    parameter.add_(moved.reshape(parameter.shape))
    for env in envs:
        env.quant[node].add_(moved.reshape(_view(env.quant[node], axis)))
    return float(moved.abs().max()), errors.mean_square(errors.total / errors.count)


def _sums(x: Tensor, axis: int) -> Tensor:
    """(C,) float64: the sum of each channel."""
    return x.sum([d for d in range(x.dim()) if d != axis % x.dim()]).double()


def _count(parts: Sequence[Tensor], axis: int) -> int:
    """Elements of one channel in all ``parts``."""
    return sum(x.numel() // x.shape[axis] for x in parts)


def _view(like: Tensor, axis: int) -> list[int]:
    """The shape in which a vector stands along ``axis`` of ``like``."""
    return [-1 if d == axis % like.dim() else 1 for d in range(like.dim())]


def _channel_axis(model: QuantizedModel, bias_name: str, output: Tensor) -> int:
    weight = model.quantizers[bias_name].plan.weight or ""
    granularity = model.plan[weight].grid.granularity if model.plan[weight].grid else None  # type: ignore[union-attr]
    return 1 if output.dim() > 2 or isinstance(granularity, PerChannel) else output.dim() - 1


class _Machine(Machine):
    """A Machine whose quantized side is the target's: what that computes more is added to each tensor."""

    def __init__(self, model: QuantizedModel, offsets: Mapping[str, Tensor]) -> None:
        super().__init__(model)
        self.offsets = offsets
        self.parameters = model.parameters_by_name()
        self._taps: dict[str, str] = model.network.meta["tap_names"]

    def quantized(self, node: fx.Node, env: Env) -> None:
        super().quantized(node, env)
        offset = self.offsets.get(self._taps.get(str(node.target), "")) if node.op == "call_module" else None
        if offset is not None:
            env.quant[node] = env.quant[node] + along_channels(offset, env.quant[node])
