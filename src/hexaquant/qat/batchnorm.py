"""BatchNorm with batch statistics during training, for layers whose BatchNorm was folded at import.

Ioffe and Szegedy, "Batch Normalization", 2015 (arXiv:1502.03167). The layer's own output z = conv(x, Q(W)), without
bias, is normalised again: with running statistics (m, v) of z, taken from data when the norm is put back, and
g = sqrt(v_0 + eps) exp(p), where p = 0 at the start is trained::

    training    y = g (z - mean_B) / sqrt(var_B + eps) + b + m_0
    otherwise   y = conv(x, r Q(W)) + b + m_0 - r m,      r = g / sqrt(v + eps)      (at the start: r = 1, the layer)

So outside training the model is the deployed one, and folding writes r W, r times the weight's scale and the bias
b + m_0 - r m back: the integers of the weight do not change. That needs one scale per output channel.

Legal for Conv, Gemm and ConvTranspose of one group with such weights and a bias of their own. Re-estimation of the
statistics before folding: Nagel et al. 2022 (arXiv:2203.11086), section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import onnx_ir as oir
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from hexaquant.core.encoding import MIN_SCALE
from hexaquant.core.errors import InputError
from hexaquant.core.grid import PerTensor
from hexaquant.core.ranks import total, total_with_gradient, world_size
from hexaquant.ir.edit import int_attribute
from hexaquant.ir.passes.fold_batchnorm import folded_norms
from hexaquant.sim.model import TRAINING_NORMS, QuantizedModel
from hexaquant.sim.quantizer import ConstantQuantizer

EPSILON = 1e-5
MOMENTUM = 0.1
"""Weight of the new batch in the running statistics, PyTorch's default."""


class TrainedNorm(nn.Module):
    """One layer and its BatchNorm; called with the layer's input, quantized weight and quantized bias.

    ``estimating``: statistics are averaged over the batches since, all with the same weight; ``is_new``: they are the
    first ones.
    """

    start_mean: Tensor
    start_var: Tensor
    mean: Tensor
    var: Tensor

    def __init__(self, layer: Callable[..., Tensor], kwargs: Mapping[str, Any], channels: int, axis: int) -> None:
        super().__init__()
        self.layer, self.kwargs, self.axis = layer, dict(kwargs), axis
        self.log_gain = nn.Parameter(torch.zeros(channels))
        for name, value in (("start_mean", 0.0), ("start_var", 1.0), ("mean", 0.0), ("var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))
        self.is_new = self.estimating = False
        self.batches = 0

    def ratio(self) -> Tensor:
        """r, (channels,): the deployed weight over the trained one."""
        return self.log_gain.exp() * ((self.start_var + EPSILON) / (self.var + EPSILON)).sqrt()

    def wide(self, ratio: Tensor, weight: Tensor) -> Tensor:
        """``ratio`` in a shape that broadcasts against ``weight``."""
        view = [1] * weight.dim()
        view[self.axis] = -1
        return ratio.reshape(view)

    def shift(self, ratio: Tensor) -> Tensor:
        """The deployed bias less the trained one."""
        return self.start_mean - ratio * self.mean

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if self.training:
            gain = self.log_gain.exp() * (self.start_var + EPSILON).sqrt()
            return self._normalised(self.layer(x, weight, None, **self.kwargs), gain, bias + self.start_mean)
        if self.is_new:
            with torch.no_grad():
                self._normalised(self.layer(x, weight, None, **self.kwargs), torch.ones_like(self.mean), self.mean)
                self.start_mean.copy_(self.mean)
                self.start_var.copy_(self.var)
        ratio = self.ratio()
        return self.layer(x, weight * self.wide(ratio, weight), bias + self.shift(ratio), **self.kwargs)

    def _normalised(self, z: Tensor, gain: Tensor, beta: Tensor) -> Tensor:
        """``z`` with the statistics of the batch (of all ranks); the running ones follow."""
        self.batches += 1
        share = 1 / self.batches if self.estimating else MOMENTUM
        if world_size() == 1 and z.numel() > z.shape[1]:
            return functional.batch_norm(z, self.mean, self.var, gain, beta, True, share, EPSILON)
        dims = [d for d in range(z.dim()) if d != 1]
        view = (1, -1, *[1] * (z.dim() - 2))
        count = total(torch.tensor(float(z.numel() // z.shape[1]), device=z.device))
        mean = total_with_gradient(z.float().sum(dims)) / count
        centred = z.float() - mean.reshape(view)
        var = total_with_gradient(centred.square().sum(dims)) / count
        with torch.no_grad():
            self.mean.lerp_(mean, share)
            self.var.lerp_(var * (count / (count - 1).clamp(min=1)), share)
        normal = centred / (var + EPSILON).sqrt().reshape(view)
        return (normal * gain.reshape(view) + beta.reshape(view)).to(z.dtype)


def put_norms_back(
    model: QuantizedModel, batches: Iterable[Mapping[str, Any]], globs: Sequence[str] = ("*",)
) -> list[str]:
    """Give layers whose BatchNorm was folded at import one again, with statistics from ``batches`` (a few suffice).

    ``globs`` choose by the name of the weight. Outside training mode the model stays what it was, to the last bit.
    Returns the names of the weights. Raises InputError when no layer has a folded BatchNorm, or ``batches`` is empty.
    """
    layers = {node.name: node for node in model.source_graph.nodes if _is_legal(model, node, globs)}
    holder = nn.Module()
    weights: list[str] = []
    model.network.add_module(TRAINING_NORMS, holder)
    for node in list(model.network.graph.nodes):
        layer = layers.get(node.meta.get("node"))
        if layer is None or node.op != "call_function" or len(node.args) < 3:
            continue
        weight = layer.inputs[1].name or ""  # type: ignore[union-attr]
        key = f"norm_{len(weights)}"
        holder.add_module(key, _make_norm(model, node, layer))
        _replace(model.network.graph, node, f"{TRAINING_NORMS}.{key}")
        weights.append(weight)
    if not weights:
        del model.network._modules[TRAINING_NORMS]
        raise InputError(
            "no layer has a BatchNorm that was folded at import and per-channel weights: train with batchnorm='folded'"
        )
    holder.weights = weights  # type: ignore[assignment]
    holder.to(next(model.parameters()).device)
    model.network.recompile()
    _first_statistics(model, batches)
    return weights


def _first_statistics(model: QuantizedModel, batches: Iterable[Mapping[str, Any]]) -> None:
    """Statistics of the deployed model: r stays 1 while they are taken."""
    training = model.training
    norms = norms_of(model)
    model.eval()
    for norm in norms:
        norm.is_new = True
    estimate_statistics(model, batches)
    for norm in norms:
        norm.is_new = False
    model.train(training)


def _is_legal(model: QuantizedModel, node: oir.Node, globs: Sequence[str]) -> bool:
    grouped = node.op_type == "ConvTranspose" and int_attribute(node, "group", 1) > 1
    if node.op_type not in ("Conv", "Gemm", "ConvTranspose") or grouped:
        return False
    weight = node.inputs[1]
    if weight is None or not folded_norms(weight) or not any(fnmatchcase(weight.name or "", g) for g in globs):
        return False
    quantizer = model.quantizers.get(weight.name or "")
    if not isinstance(quantizer, ConstantQuantizer) or quantizer.grid.is_float:
        return False
    return not isinstance(quantizer.grid.granularity, PerTensor)


def _make_norm(model: QuantizedModel, node: fx.Node, layer: oir.Node) -> TrainedNorm:
    axis = 1 if layer.op_type == "ConvTranspose" else 0
    if layer.op_type == "Gemm" and not int_attribute(layer, "transB", 0):
        axis = 1
    weight = model.parameters_by_name()[layer.inputs[1].name or ""]  # type: ignore[union-attr]
    return TrainedNorm(node.target, node.kwargs, weight.shape[axis], axis)  # type: ignore[arg-type]


def _replace(graph: fx.Graph, node: fx.Node, target: str) -> None:
    """Put a call of submodule ``target`` in the place of the operator ``node``."""
    with graph.inserting_after(node):
        made = graph.call_module(target, node.args[:3])
    made.meta = dict(node.meta)
    node.replace_all_uses_with(made)
    graph.erase_node(node)


def norms_of(model: QuantizedModel) -> list[TrainedNorm]:
    """The norms that were put back and not folded yet."""
    holder = model.network._modules.get(TRAINING_NORMS)
    return [] if holder is None else [norm for norm in holder.children() if isinstance(norm, TrainedNorm)]


@torch.no_grad()
def estimate_statistics(model: QuantizedModel, batches: Iterable[Mapping[str, Any]]) -> None:
    """Running statistics anew: the average over ``batches``, of a model in training mode (or of new norms)."""
    for norm in norms_of(model):
        norm.estimating = True
        norm.batches = 0
    device = next(model.parameters()).device
    seen = 0
    for batch in batches:
        model(**{name: torch.as_tensor(value, device=device) for name, value in batch.items()})
        seen += 1
    if not seen:
        raise InputError("the training data is empty: give at least one sample")
    for norm in norms_of(model):
        norm.estimating = False


@torch.no_grad()
def fold_norms(model: QuantizedModel) -> list[str]:
    """Fold the norms that were put back into their layers; returns the names of the weights.

    Weight quantizers must hold plain encodings (qat/learn.py, freeze_encodings). The model in evaluation mode is the
    same before and after, up to rounding in float32.
    """
    holder = model.network._modules.get(TRAINING_NORMS)
    parameters = model.parameters_by_name()
    if holder is None:
        return []
    graph, weights = model.network.graph, list(holder.weights)  # type: ignore[arg-type]
    for node in list(graph.nodes):
        if node.op == "call_module" and str(node.target).startswith(f"{TRAINING_NORMS}."):
            norm = model.network.get_submodule(str(node.target))
            assert isinstance(norm, TrainedNorm)
            weight = weights[int(str(node.target).rpartition("_")[2])]
            _fold(model, norm, weight, parameters[weight], parameters[_bias_name(model, weight)])
            with graph.inserting_after(node):
                made = graph.call_function(norm.layer, node.args, norm.kwargs)
            made.meta = dict(node.meta)
            node.replace_all_uses_with(made)
            graph.erase_node(node)
    del model.network._modules[TRAINING_NORMS]
    model.network.recompile()
    return weights


def _bias_name(model: QuantizedModel, weight: str) -> str:
    """The bias of the layer that has ``weight``."""
    for node in model.source_graph.nodes:
        names = [value.name if value is not None else "" for value in node.inputs]
        if len(names) > 2 and names[1] == weight:
            return names[2] or ""
    raise InputError(f"no layer of the graph has the weight '{weight}'")


def _fold(model: QuantizedModel, norm: TrainedNorm, name: str, weight: nn.Parameter, bias: nn.Parameter) -> None:
    ratio = norm.ratio()
    weight.mul_(norm.wide(ratio, weight))
    bias.add_(norm.shift(ratio).reshape(bias.shape))
    quantizer = model.quantizers[name]
    old = quantizer.encoding
    view = ratio if old.scale.dim() == 1 else ratio[:, None]
    quantizer.encoding = replace(old, scale=(old.scale * view.to(old.scale.device)).clamp(min=MIN_SCALE))
