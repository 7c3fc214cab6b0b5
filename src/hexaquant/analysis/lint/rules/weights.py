"""Rules about the values of weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir
import torch

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.core.encoding import encoding_of
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.grid import Grid, PerTensor
from hexaquant.core.observers.weight_mse import mse_weight_encoding
from hexaquant.htp import kernels
from hexaquant.ir.edit import int_attribute
from hexaquant.ir.graph import Graph, constant

# The weights of a network as rules look at them: by layer, with the axis of its output channels.


@dataclass(frozen=True)
class Weight:
    """``rows``: float64 of shape (output channels, everything else)."""

    node: oir.Node
    name: str
    data: np.ndarray
    rows: np.ndarray

    @property
    def peaks(self) -> np.ndarray:
        """max |w| of each output channel."""
        return np.abs(self.rows).max(axis=1)


def weights_of(graph: Graph) -> Iterator[Weight]:
    """Every constant weight of a convolution or linear layer, in order."""
    for node in graph.nodes:
        index = kernels.WEIGHT_INPUTS.get(node.op_type)
        value = node.inputs[index] if index is not None and node.domain == "" and len(node.inputs) > index else None
        data = constant(value)
        if value is None or data is None or data.ndim < 2 or data.dtype.kind != "f":
            continue
        yield Weight(node, value.name or "", data, rows_of(node, np.asarray(data, np.float64)))


def rows_of(node: oir.Node, data: np.ndarray) -> np.ndarray:
    """``data``, shaped like the weight of ``node``, as (output channels, everything else)."""
    if node.op_type == "ConvTranspose":
        groups = int_attribute(node, "group", 1)
        split = data.reshape(groups, data.shape[0] // groups, *data.shape[1:])
        return np.moveaxis(split, 2, 1).reshape(groups * data.shape[1], -1)
    if node.op_type == "Gemm":
        return data if int_attribute(node, "transB", 0) else data.T
    rows = np.moveaxis(data, -1, 0) if node.op_type == "MatMul" else data
    return rows.reshape(rows.shape[0], -1)


def outlier_ratio(sizes: np.ndarray) -> tuple[float, int]:
    """The largest of ``sizes`` over their 90th percentile (of fewer than 16: over the median), and its index."""
    alive = sizes[sizes > 0]
    if alive.size < 4:
        return 1.0, int(sizes.argmax()) if sizes.size else 0
    usual = float(np.quantile(alive, 0.9 if alive.size >= 16 else 0.5))
    return float(sizes.max()) / usual, int(sizes.argmax())


# Weights that their grid holds badly.
#
# The weight is quantized as it would be (own range, per channel where the target can) and compared with itself: 8 bits
# give 40 dB and more to a bell-shaped channel. Less than 25 dB means that single values set the range of their channel,
# or that one scale serves channels of very different size (per tensor: an override, or a ConvTranspose in groups). 4
# bits are judged below 10 dB.
COARSE_WEIGHT = "coarse-weight"
LEAST_DB = {4: 10.0, 8: 25.0, 16: 60.0}


def coarse_weight(subject: Subject) -> Iterator[Finding]:
    """One warning per layer, judged by its worst channel but one in ten."""
    for weight in weights_of(subject.prepared):
        plan = subject.plan.tensors.get(weight.name)
        if plan is None or plan.grid is None or plan.grid.is_float or plan.how != "own":
            continue
        db, channel = _worst(weight, plan.grid)
        if db >= LEAST_DB.get(plan.grid.bits, 25.0):
            continue
        per_tensor = isinstance(plan.grid.granularity, PerTensor)
        text = f"in {plan.grid.bits} bits the weights of a tenth of its channels have less than {db:.0f} dB"
        why = (
            "one scale serves all channels" if per_tensor else f"single large values set the range (channel {channel})"
        )
        fix = (
            "quantize per channel" if per_tensor else "clip them (weight observer mse, recipe 'best'), or use more bits"
        )
        if per_tensor:
            fix += ", or equalize the channels (step equalize_layers)"
        yield about(subject.prepared, weight.node, COARSE_WEIGHT, "warning", text, why, fix, tensor=weight.name)


def _worst(weight: Weight, grid: Grid) -> tuple[float, int]:
    """(SQNR below which a tenth of the channels lie, the worst channel); channels without weights are left out."""
    data = torch.tensor(weight.data).float()
    encoding = encoding_of(data, grid) if grid.bits >= 8 else mse_weight_encoding(data, grid)
    noise = rows_of(weight.node, (fake_quantize(data, encoding) - data).double().numpy())
    signal = (weight.rows**2).sum(1)
    lost = (noise**2).sum(1)
    alive = signal > 1e-12 * signal.max()
    dbs = 10 * np.log10(signal[alive] / np.maximum(lost[alive], 1e-30 * signal.max()))
    if not dbs.size:
        return float("inf"), 0
    return float(np.quantile(dbs, 0.1)), int(np.flatnonzero(alive)[dbs.argmin()])


# Output channels whose weights are all zero.
#
# They cost memory and time and compute a constant. Their scale is a tiny number that has to be raised so as not to
# overflow the bias (htp/overflow.py).
DEAD_CHANNEL = "dead-channel"
RELATIVE = 1e-6


def dead_channel(subject: Subject) -> Iterator[Finding]:
    """One info per layer."""
    for weight in weights_of(subject.prepared):
        peaks = weight.peaks
        dead = int((peaks <= RELATIVE * peaks.max()).sum())
        if not dead:
            continue
        text = f"{dead} of {peaks.size} output channels have no weights"
        why = "they take memory and time, and compute a constant"
        yield about(subject.prepared, weight.node, DEAD_CHANNEL, "info", text, why, "prune them", tensor=weight.name)


# One channel far larger than the others, in a tensor with one grid for all channels.
#
# Activations have one scale per tensor on this target: a channel ten times larger than the rest takes more than three
# of eight bits from all the others. Weights have one scale per output channel, so there only what a single input
# channel does counts (coarse_weight.py). Seen in the weights of the layer that writes the tensor, or in the activations
# themselves when there is data; the quantizer's cost is measured then.
OUTLIER_CHANNEL = "outlier-channel"
RATIO = 8.0
WEIGHT_RATIO = 12.0
"""The largest channel over the 90th percentile of the channels: 8 costs the others three bits. Weights tell less than
activations (a depthwise layer of EfficientNet-Lite0 has 9, and activations of 6 at most)."""
FIX = "equalize: recipe 'best' does, or the step equalize_layers; else 16 bits for this tensor (--overrides)"


def outlier_channel(subject: Subject) -> Iterator[Finding]:
    """One warning per tensor: from activations where there is data, else from weights."""
    yield from _of_activations(subject) if subject.statistics else _of_weights(subject)


def _of_weights(subject: Subject) -> Iterator[Finding]:
    for weight in weights_of(subject.prepared):
        if subject.activation_bits(weight.node) != 8:
            continue
        ratio, channel = outlier_ratio(weight.peaks)
        if ratio < WEIGHT_RATIO:
            continue
        text = f"weights of output channel {channel} are {ratio:.0f} times those of the other channels"
        yield about(subject.prepared, weight.node, OUTLIER_CHANNEL, "warning", text, _why(ratio), FIX)


def _of_activations(subject: Subject) -> Iterator[Finding]:
    for node in subject.prepared.nodes:
        tensor = node.outputs[0].name or ""
        seen = subject.statistics.get(tensor)
        plan = subject.plan.tensors.get(tensor)
        if seen is None or plan is None or plan.how != "observed" or subject.activation_bits(node) != 8:
            continue
        if _is_scores(node):
            continue
        ratio, channel = outlier_ratio(seen.channel_peaks)
        if ratio < RATIO:
            continue
        text = (
            f"channel {channel} of '{tensor}' reaches {seen.channel_peaks[channel]:.3g}, {ratio:.0f} times the others"
        )
        yield about(subject.prepared, node, OUTLIER_CHANNEL, "warning", text, _why(ratio), FIX)


def _is_scores(node: oir.Node | None) -> bool:
    """Whether the tensor is a product of two activations, perhaps scaled or masked: it has no channels."""
    while node is not None and node.op_type in ("Div", "Mul", "Add", "Where", "Clip", "Softmax"):
        computed = [v for v in node.inputs if v is not None and constant(v) is None and v.producer() is not None]
        node = computed[0].producer() if len(computed) == 1 else None
    return node is not None and node.op_type == "MatMul" and all(constant(v) is None for v in node.inputs)


def _why(ratio: float) -> str:
    lost = ratio.__ceil__().bit_length() - 1
    return f"activations have one scale per tensor: the other channels are left {max(8 - lost, 0)} of 8 bits"
