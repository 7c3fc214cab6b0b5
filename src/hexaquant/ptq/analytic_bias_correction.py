"""Analytic bias correction: the mean error that rounded weights make is computed, without data, from the statistics
that BatchNormalizations carry.

    b_o <- b_o - sum_ik (W~ - W)_oik E[x_i]

with E[x_i] the mean of input channel i: beta of the BatchNormalization folded into the layer before, moved through its
activation as the mean of a clipped normal variable. Averaging and data movement keep means,
sums add them.

Paper: Nagel et al., ICCV 2019 (arXiv:1906.04721), section 4.2. Legal for Conv and Gemm with a bias of their own whose
input means are known; a layer whose bias was rewritten since the fold (equalization) no longer has known means.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as oir
import torch
from torch import Tensor

from hexaquant.ir.edit import int_attribute
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.fold_batchnorm import CHANNEL_MOMENTS, ChannelMoments
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.planner import clip_bounds
from hexaquant.sim.quantizer import BiasQuantizer

# Mean of a normal variable behind a clipping activation.
#
#     E[clip(X, a, b)] = s (phi(A) - phi(B)) + m (Phi(B) - Phi(A)) + a Phi(A) + b (1 - Phi(B))
#     A = (a - m) / s,   B = (b - m) / s,   X ~ N(m, s^2)
#
# Paper: Nagel et al., ICCV 2019 (arXiv:1906.04721), appendix C; a = 0 and b infinite is ReLU.

_SMALLEST = 1e-12


def clipped_normal_mean(mean: Tensor, deviation: Tensor, low: float | None, high: float | None) -> Tensor:
    """Elementwise, float64. ``low``/``high``: bounds of the activation, None for none."""
    m = mean.double()
    s = deviation.double().clamp(min=_SMALLEST)
    normal = torch.distributions.Normal(torch.zeros_like(m), torch.ones_like(m))
    below = torch.zeros_like(m)
    above = torch.ones_like(m)
    result = torch.zeros_like(m)
    if low is not None:
        a = (low - m) / s
        below = normal.cdf(a)
        result = result + s * normal.log_prob(a).exp() + low * below
    if high is not None:
        b = (high - m) / s
        above = normal.cdf(b)
        result = result - s * normal.log_prob(b).exp() + high * (1 - above)
    return result + m * (above - below)


_KEEP_MEANS = ("GlobalAveragePool", "AveragePool", "Flatten", "Identity")


@torch.no_grad()
def correct_biases_analytically(model: QuantizedModel) -> list[dict[str, Any]]:
    """Correct ``model`` (quantizers on) in place; one entry per layer: its largest shift, or why it is left alone."""
    means = expected_values(model.source_graph)
    parameters = model.parameters_by_name()
    report: list[dict[str, Any]] = []
    for node in model.source_graph.nodes:
        bias = node.inputs[2] if node.op_type in ("Conv", "Gemm") and len(node.inputs) > 2 else None
        name = (bias.name or "") if bias is not None else ""
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        quantizer = model.quantizers.get(name)
        if bias is None or weight is None or len(bias.uses()) != 1 or not isinstance(quantizer, BiasQuantizer):
            continue
        x = means.get((node.inputs[0].name or "") if node.inputs[0] is not None else "")
        if x is None:
            report.append({"layer": quantizer.plan.layer, "reason": "the means of its input are not known"})
            continue
        w = parameters[weight.name or ""]
        shift = _mean_error(node, model.quantizers[weight.name or ""](w) - w, x)
        parameters[name].sub_(shift.to(parameters[name].dtype).reshape(parameters[name].shape))
        report.append({"layer": quantizer.plan.layer, "largest_shift": float(shift.abs().max())})
    return report


def _mean_error(node: oir.Node, error: Tensor, x: Tensor) -> Tensor:
    """(outputs,): E[error x] of a Conv or Gemm with input means ``x`` (C,)."""
    if node.op_type == "Gemm":
        matrix = error if int_attribute(node, "transB", 0) else error.t()
        return matrix.double() @ x
    groups = int_attribute(node, "group", 1)
    summed = error.double().flatten(2).sum(2)
    inputs = x.reshape(groups, 1, -1).expand(groups, len(summed) // groups, -1).reshape(len(summed), -1)
    return (summed * inputs).sum(1)


def expected_values(graph: Graph) -> dict[str, Tensor]:
    """Tensor name -> (C,) float64 mean of each channel, of the tensors of which it is known."""
    means: dict[str, Tensor] = {}
    for node in graph.nodes:
        found = _expected(node, means)
        if found is not None:
            means[node.outputs[0].name or ""] = found
    return means


def _expected(node: oir.Node, means: dict[str, Tensor]) -> Tensor | None:
    source = node.inputs[0] if node.inputs else None
    known = [means.get(value.name or "") for value in node.inputs if value is not None]
    moments = _moments(node)
    if moments is not None:
        return torch.from_numpy(moments.mean)
    if node.op_type in ("Relu", "Clip") and source is not None and source.producer() is not None:
        before = _moments(source.producer())
        low, high = clip_bounds(node)
        if before is None or (low is None and high is None):
            return None
        return clipped_normal_mean(torch.from_numpy(before.mean), torch.from_numpy(before.deviation), low, high)
    if node.op_type in _KEEP_MEANS and known and known[0] is not None:
        return known[0] if _keeps_channels(node, len(known[0])) else None
    if node.op_type == "Add" and len(known) == 2 and known[0] is not None and known[1] is not None:
        return known[0] + known[1] if known[0].shape == known[1].shape else None
    return None


def _keeps_channels(node: oir.Node, channels: int) -> bool:
    """True when axis 1 of the output is the same channels (a Flatten of more than one position mixes them)."""
    shape = node.outputs[0].shape
    return shape is not None and len(shape) > 1 and shape[1] == channels


def _moments(node: oir.Node | None) -> ChannelMoments | None:
    """Moments of the output of ``node``, None when it has none or its bias was rewritten since."""
    found = node.outputs[0].meta.get(CHANNEL_MOMENTS) if node is not None and node.outputs else None
    bias = constant(node.inputs[2]) if node is not None and len(node.inputs) > 2 else None
    if not isinstance(found, ChannelMoments) or bias is None:
        return None
    return found if bias.size == found.bias.size and np.array_equal(bias.ravel(), found.bias.ravel()) else None
