"""One channel far larger than the others, in a tensor with one grid for all channels.

Activations have one scale a tensor on this target: a channel ten times larger than the rest takes more than three of
eight bits from all the others. Weights have one scale an output channel, so there only what a single input channel does
counts (coarse_weight.py). Seen in the weights of the layer that writes the tensor, or in the activations themselves
when there is data; the quantizer's cost is measured then.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as oir

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.analysis.lint.weights import outlier_ratio, weights_of
from hexaquant.ir.graph import constant

RULE = "outlier-channel"
RATIO, WEIGHT_RATIO = 8.0, 12.0
"""The largest channel over the 90th percentile of the channels: 8 costs the others three bits. Weights tell less than
activations (a depthwise layer of EfficientNet-Lite0 has 9, and activations of 6 at most)."""
FIX = "equalize: recipe 'best' does, or the step equalize_layers; else 16 bits for this tensor (--overrides)"


def outlier_channel(subject: Subject) -> Iterator[Finding]:
    """One warning a tensor: from activations where there is data, else from weights."""
    yield from _of_activations(subject) if subject.statistics else _of_weights(subject)


def _of_weights(subject: Subject) -> Iterator[Finding]:
    for weight in weights_of(subject.prepared):
        if subject.activation_bits(weight.node) != 8:
            continue
        ratio, channel = outlier_ratio(weight.peaks)
        if ratio < WEIGHT_RATIO:
            continue
        text = f"weights of output channel {channel} are {ratio:.0f} times those of the other channels"
        yield about(subject.prepared, weight.node, RULE, "warning", text, _why(ratio), FIX)


def _of_activations(subject: Subject) -> Iterator[Finding]:
    for node in subject.prepared.nodes:
        tensor = node.outputs[0].name or ""
        seen, plan = subject.statistics.get(tensor), subject.plan.tensors.get(tensor)
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
        yield about(subject.prepared, node, RULE, "warning", text, _why(ratio), FIX)


def _is_scores(node: oir.Node | None) -> bool:
    """Whether the tensor is a product of two activations, perhaps scaled or masked: it has no channels."""
    while node is not None and node.op_type in ("Div", "Mul", "Add", "Where", "Clip", "Softmax"):
        computed = [v for v in node.inputs if v is not None and constant(v) is None and v.producer() is not None]
        node = computed[0].producer() if len(computed) == 1 else None
    return node is not None and node.op_type == "MatMul" and all(constant(v) is None for v in node.inputs)


def _why(ratio: float) -> str:
    lost = ratio.__ceil__().bit_length() - 1
    return f"activations have one scale a tensor: the other channels are left {max(8 - lost, 0)} of 8 bits"
