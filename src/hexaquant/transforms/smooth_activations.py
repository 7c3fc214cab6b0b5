"""SmoothQuant migration: the spread of an activation's channels moves into the weights that read them.

    s_j = max |x_j|^alpha / max |w_j|^(1 - alpha),    x' = x / s,    W' = W diag(s)

What precedes absorbs 1 / s: a normalization's gamma and beta, a linear layer or convolution (also behind a Relu or
another operator that commutes with positive scales), an embedding.

Paper: Xiao et al., "SmoothQuant", ICML 2023 (arXiv:2211.10438), section 4, equation 4. There alpha is one number for
the model; here it is chosen for each group of channels (all layers that read the same channels) by the error of these
layers' outputs with 8-bit activations, and the group is left alone unless that error drops. Legal for what
transforms/channel_scaling.py labels; the function is preserved to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as oir
import torch
from torch import Tensor

from hexaquant.core.encoding import encoding_of
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.grid import Grid, PerChannel
from hexaquant.htp import kernels
from hexaquant.ir.executor import literal
from hexaquant.ir.executor.table import lookup
from hexaquant.ir.graph import Graph, constant
from hexaquant.transforms.channel_ids import PINNED, Ids, Labels
from hexaquant.transforms.channel_rules import find_scaling
from hexaquant.transforms.channel_scaling import Array, Operand, Scaling

ALPHAS = (0.25, 0.5, 0.75, 1.0)
GAIN = 0.8
"""A group is rescaled when its output error drops below this part of what it was."""
LARGEST_SCALE = 1e3


@dataclass(frozen=True)
class Smoothed:
    """One group: the layers that read it, its alpha (None: left alone), their relative squared output error, and the
    ratio of the largest to the median channel of the activation."""

    layers: tuple[str, ...]
    alpha: float | None
    error_before: float
    error_after: float
    channel_ratio_before: float
    channel_ratio_after: float


def read_tensors(graph: Graph) -> list[str]:
    """The activations of which ``smooth_activations`` needs values: inputs of layers with labelled channels."""
    return sorted({_x(reader) for group in _groups(find_scaling(graph)) for reader in group})


def smooth_activations(
    graph: Graph, values: Mapping[str, Tensor], *, alphas: tuple[float, ...] = ALPHAS, weight_bits: int = 8
) -> list[Smoothed]:
    """Rescale ``graph`` (prepared for the target) in place.

    ``values``: some values of each tensor of ``read_tensors``, batch first; ``weight_bits``: of the rounding that the
    output error is measured with, one scale per output channel.
    """
    scaling = find_scaling(graph)
    scales = np.ones(scaling.size)
    report = []
    for readers in _groups(scaling):
        found = _best(graph, scaling, readers, values, alphas, weight_bits)
        report.append(found[0])
        scales = scales * found[1]
    scaling.apply(scales)
    return report


def _groups(scaling: Scaling) -> Iterator[list[Operand]]:
    """Readers of free channels, those that share a channel together."""
    readers = [o for o in scaling.operands if o.role == "weight" and o.inputs is not None and o.inputs.any()]
    written = {int(label) for o in scaling.operands if o.outputs is not None for label in np.unique(o.outputs)}
    labels = Labels()
    labels.fresh(scaling.size)
    for reader in readers:
        free = _free(reader)
        labels.union(free[:1], free)
    roots = labels.roots()
    groups: dict[int, list[Operand]] = {}
    for reader in readers:
        groups.setdefault(int(roots[_free(reader)[0]]), []).append(reader)
    yield from (g for g in groups.values() if all(set(_free(r).tolist()) <= written for r in g))


def _free(reader: Operand) -> Ids:
    assert reader.inputs is not None
    labels = np.unique(reader.inputs)
    return labels[labels != PINNED]


def _x(reader: Operand) -> str:
    value = reader.node.inputs[0]
    return (value.name if value is not None else None) or ""


def _best(
    graph: Graph,
    scaling: Scaling,
    readers: list[Operand],
    values: Mapping[str, Tensor],
    alphas: tuple[float, ...],
    weight_bits: int,
) -> tuple[Smoothed, Array]:
    """The report of a group and its scales (1 for labels of other groups)."""
    x_max = np.zeros(scaling.size)
    w_max = np.zeros(scaling.size)
    for reader in readers:
        assert reader.inputs is not None
        x = values[_x(reader)].abs().amax(0, keepdim=True).double().numpy()
        np.maximum.at(x_max, np.broadcast_to(scaling.labels[_x(reader)], x.shape), x)
        weight = np.abs(np.asarray(constant(reader.value), np.float64))
        np.maximum.at(w_max, np.broadcast_to(reader.inputs, weight.shape), weight)
    alive = (x_max > 0) & (w_max > 0)
    alive[PINNED] = False
    none = np.ones(scaling.size)
    errors: dict[float | None, float] = {None: _error(scaling, readers, values, none, weight_bits)}
    candidates: dict[float | None, Array] = {None: none}
    for alpha in alphas:
        candidates[alpha] = smoothing_scales(x_max, w_max, alive, alpha)
        errors[alpha] = _error(scaling, readers, values, candidates[alpha], weight_bits)
    best = min(errors, key=lambda alpha: errors[alpha])
    chosen = best if errors[best] < GAIN * errors[None] else None
    names = tuple(str(graph.origin(reader.node)) for reader in readers)
    ratios = (_ratio(x_max[alive] / candidates[alpha][alive]) for alpha in (None, chosen))
    return Smoothed(names, chosen, errors[None], errors[chosen], *ratios), candidates[chosen]


def smoothing_scales(x_max: Array, w_max: Array, alive: npt.NDArray[np.bool_], alpha: float) -> Array:
    """s of equation 4 for the channels that are ``alive``, with geometric mean 1; 1 for all others."""
    scales = np.ones_like(x_max)
    if alive.any():
        logs = alpha * np.log(x_max[alive]) - (1 - alpha) * np.log(w_max[alive])
        scales[alive] = np.clip(np.exp(logs - logs.mean()), 1 / LARGEST_SCALE, LARGEST_SCALE)
    return scales


def _ratio(channels: Array) -> float:
    return round(float(channels.max() / np.median(channels)), 3) if channels.size else 1.0


def _error(
    scaling: Scaling, readers: list[Operand], values: Mapping[str, Tensor], scales: Array, weight_bits: int
) -> float:
    """Squared error over squared norm of the readers' outputs, activation and weight quantized after rescaling."""
    noise = signal = 0.0
    for reader in readers:
        x = values[_x(reader)]
        weight = literal.torch_tensor(np.asarray(constant(reader.value)))
        s_x = torch.from_numpy(scales[scaling.labels[_x(reader)]]).float()
        s_w = torch.from_numpy(scales[reader.inputs]).float()
        rough_x = fake_quantize(x / s_x, encoding_of(x / s_x, Grid(8)))
        axis = kernels.channel_axis(reader.node.op_type, _attributes(reader.node), weight.dim())
        grid = Grid(weight_bits, True, True) if axis is None else Grid(weight_bits, True, True, PerChannel(axis))
        scaled = weight * s_w
        wanted = _call(reader.node, x, weight)
        got = _call(reader.node, rough_x, fake_quantize(scaled, encoding_of(scaled, grid)))
        noise += float((got - wanted).pow(2).sum())
        signal += float(wanted.pow(2).sum())
    return noise / max(signal, 1e-30)


def _attributes(node: oir.Node) -> dict[str, int]:
    return {key: int(node.attributes.get_int(key, 0) or 0) for key in ("transB",)} | {
        "group": int(node.attributes.get_int("group", 1) or 1)
    }


def _call(node: oir.Node, x: Tensor, weight: Tensor) -> Tensor:
    """The linear part of ``node``."""
    spec = lookup(node)
    assert spec is not None
    result: Tensor = spec.fn(x, weight, **literal.attributes(node))
    return result
