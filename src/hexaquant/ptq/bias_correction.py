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

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from hexaquant.core.events import Events
from hexaquant.core.grid import PerChannel
from hexaquant.ir.graph import constant
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
    inputs = _gather(batches, samples)
    biases = _bias_of_output(model)
    walk = _LockStep(model, offsets or {})
    reports = []
    nodes = list(model.network.graph.nodes)
    steps = walk.run(nodes, [inputs[value.name or ""] for value in model.source_graph.inputs])
    for node in (events or Events()).track(steps, "bias correction", len(nodes) - 1):
        bias_name = biases.get(node.meta.get("untapped", node.meta.get("value", "")))
        if bias_name is None or node.op != "call_function":
            continue
        before = _mse(walk, node)
        gain = _refit_gain(model, bias_name, node, walk) if refit_gain else 1.0
        shift, after = _correct(model, bias_name, node, walk)
        reports.append(LayerReport(model.quantizers[bias_name].plan.layer, shift, before, after, gain))
    return reports


def _mse(walk: _LockStep, node: fx.Node) -> float:
    return float((walk.float_env[node] - walk.quant_env[node]).square().mean())


def _refit_gain(model: QuantizedModel, bias_name: str, node: fx.Node, walk: _LockStep) -> float:
    """Multiply the scales of the layer's weight by the gain of each channel; the one farthest from 1."""
    weight = model.quantizers[bias_name].plan.weight or ""
    quantizer, parameters = model.quantizers[weight], model.parameters_by_name()
    layout = quantizer.encoding.grid.granularity
    if not isinstance(layout, PerChannel) or len(model.source_graph.value(weight).uses()) != 1:
        return 1.0
    wanted, got = walk.float_env[node], walk.quant_env[node]
    axis = _channel_axis(model, bias_name, wanted)
    bias = model.quantizers[bias_name](parameters[bias_name]).reshape(
        [-1 if d == axis else 1 for d in range(got.dim())]
    )
    gain = channel_gains(got - bias, wanted, axis)
    walk.quant_env[node] = (got - bias) * gain.reshape(bias.shape) + bias
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


def _gather(batches: Iterable[Mapping[str, Any]], samples: int) -> dict[str, Tensor]:
    parts: list[Mapping[str, Any]] = []
    count = 0
    for batch in islice(batches, samples):
        parts.append(batch)
        count += len(next(iter(batch.values())))
        if count >= samples:
            break
    return {name: torch.cat([torch.as_tensor(p[name]) for p in parts])[:samples] for name in parts[0]}


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


def _correct(model: QuantizedModel, bias_name: str, node: fx.Node, walk: _LockStep) -> tuple[float, float]:
    """Shift the bias; (largest shift, mean squared error that is left)."""
    wanted, got = walk.float_env[node], walk.quant_env[node]
    axis = _channel_axis(model, bias_name, wanted)
    dims = [d for d in range(wanted.dim()) if d != axis]
    view = [1] * wanted.dim()
    view[axis] = -1
    name = node.meta.get("untapped") or node.meta["value"]
    own = before_activation(model.plan, walk.offsets, name, got, axis)
    error = wanted - got if own is None else wanted - got - own.reshape(view)
    shift = error.mean(dims)
    after = float((error - shift.reshape(view)).square().mean())
    parameter = model.parameters_by_name()[bias_name]
    parameter.add_(shift.reshape(parameter.shape))
    walk.quant_env[node] = got + shift.reshape(view)
    return float(shift.abs().max()), after


def _channel_axis(model: QuantizedModel, bias_name: str, output: Tensor) -> int:
    weight = model.quantizers[bias_name].plan.weight or ""
    granularity = model.plan[weight].grid.granularity if model.plan[weight].grid else None  # type: ignore[union-attr]
    return 1 if output.dim() > 2 or isinstance(granularity, PerChannel) else output.dim() - 1


class _LockStep(fx.Interpreter):
    """Runs an fx graph twice at once: quantizers off in ``float_env``, on in ``quant_env``; frees dead values."""

    def __init__(self, model: QuantizedModel, offsets: Mapping[str, Tensor]) -> None:
        super().__init__(model.network, garbage_collect_values=False)
        self.float_env: dict[fx.Node, Any] = {}
        self.quant_env: dict[fx.Node, Any] = {}
        self.offsets = offsets
        self._taps: dict[str, str] = model.network.meta["tap_names"]
        self._originals = original_parameters(model)

    def run(self, nodes: list[fx.Node], inputs: list[Tensor]) -> Iterator[fx.Node]:  # type: ignore[override]
        """Yield each computed node once both its values exist."""
        last_use = {operand: node for node in nodes for operand in node.all_input_nodes}
        feeds = iter(inputs)
        for node in nodes:
            if node.op == "output":
                return
            if node.op == "placeholder":
                self.float_env[node] = self.quant_env[node] = next(feeds, None)
            else:
                self._step(node)
            yield node
            for operand in node.all_input_nodes:
                if last_use[operand] is node:
                    self.float_env.pop(operand, None)
                    self.quant_env.pop(operand, None)

    def _step(self, node: fx.Node) -> None:
        quantizer = self.submodules.get(node.target) if node.op == "call_module" else None
        for env, state in ((self.float_env, "off"), (self.quant_env, "on")):
            if quantizer is not None:
                quantizer.state = state  # type: ignore[assignment]
            self.env = env
            env[node] = self.run_node(node)
        if node.op == "get_attr" and node.target in self._originals:
            self.float_env[node] = self._originals[node.target]
        offset = self.offsets.get(self._taps.get(str(node.target), "")) if quantizer is not None else None
        if offset is not None:
            self.quant_env[node] = self.quant_env[node] + along_channels(offset, self.quant_env[node])


def original_parameters(model: QuantizedModel) -> dict[str, Tensor]:
    """Attribute path -> the parameter as the graph that ``model`` was built from has it; only those that changed."""
    constants, parameters = model.source_graph.model.graph.initializers, model.parameters_by_name()
    found = {}
    for path, name in model.network.meta["parameter_names"].items():
        data = constant(constants.get(name))
        if data is None or name not in parameters:
            continue
        original = torch.from_numpy(np.array(data)).to(parameters[name])
        if not torch.equal(original, parameters[name]):
            found[path] = original
    return found
