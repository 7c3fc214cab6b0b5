"""High-bias absorption: what a Relu always lets through moves from one layer's bias into the next layer's.

    b1' = b1 - c,    b2' = b2 + W2 c,    c_j = max(0, smallest input of the Relu seen in channel j)

Equalization can leave channels with large biases, whose activations then lie far from zero and waste the range.

Paper: Nagel et al., ICCV 2019 (arXiv:1906.04721), section 4.1.3, equations 12 to 15. There c follows from BatchNorm's
mean minus three deviations; here from calibration data. relu(x - c) = relu(x) - c holds for x >= c only, so the
function is the same on data like the calibration's and may change where an input is smaller than any seen. Legal when:

1. the Relu's input comes from a Conv, ConvTranspose or Gemm with weight and bias of their own, and goes nowhere else;
2. its output is read by Conv without padding and Gemm only (at padded borders c would be missing), each with weight and
   bias of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as oir

from hexaquant.ir.edit import int_attribute, ints_attribute, private_constant, set_constant, sole_consumer
from hexaquant.ir.graph import Graph, constant

Array = npt.NDArray[np.float64]
MARGIN = 0.9
"""Part of the smallest input seen that is absorbed."""


@dataclass(frozen=True)
class Absorbed:
    """One layer: how many of its channels gave up a part of their bias, and its largest bias before and after."""

    layer: str
    channels: int
    largest_bias_before: float
    largest_bias_after: float


def absorbable(graph: Graph) -> dict[str, oir.Node]:
    """Tensor before a Relu -> the Relu, where absorption is legal."""
    found = {}
    for node in graph.nodes:
        source = node.inputs[0] if node.op_type == "Relu" else None
        layer = source.producer() if source is not None else None
        if source is None or layer is None or sole_consumer(source) is not node or node.outputs[0].is_graph_output():
            continue
        readers = [use.node for use in node.outputs[0].uses()]
        writes = layer.op_type in ("Conv", "ConvTranspose", "Gemm") and _owns(layer)
        if writes and readers and all(_reads(reader, node.outputs[0]) for reader in readers):
            found[source.name or ""] = node
    return found


def absorb_biases(graph: Graph, minima: Mapping[str, Array]) -> list[Absorbed]:
    """Rewrite ``graph`` (prepared for the target) in place.

    ``minima``: tensor before a Relu -> smallest value seen in each channel, shape (C,), of those in ``absorbable``.
    """
    report = []
    for name, node in absorbable(graph).items():
        shift = np.maximum(0, MARGIN * minima[name])
        layer = node.inputs[0].producer()  # type: ignore[union-attr]
        if layer is None or not shift.any():
            continue
        before = _data(layer.inputs[2])
        after = before - shift.reshape(before.shape)
        _store(layer.inputs[2], after)
        for use in list(node.outputs[0].uses()):
            bias = _data(use.node.inputs[2])
            _store(use.node.inputs[2], bias + _passed_on(use.node, shift).reshape(bias.shape))
        largest = (round(float(np.abs(b).max()), 6) for b in (before, after))
        report.append(Absorbed(str(graph.origin(layer)), int((shift > 0).sum()), *largest))
    return report


def _owns(layer: oir.Node) -> bool:
    plain = all(layer.attributes[k].as_float() == 1.0 for k in ("alpha", "beta") if k in layer.attributes)
    own = len(layer.inputs) > 2 and all(private_constant(v) is not None for v in layer.inputs[1:3])
    return own and plain and int_attribute(layer, "transA", 0) == 0


def _reads(layer: oir.Node, value: oir.Value) -> bool:
    padded = any(ints_attribute(layer, "pads")) or "auto_pad" in layer.attributes
    return layer.op_type in ("Conv", "Gemm") and layer.inputs[0] is value and not padded and _owns(layer)


def _passed_on(layer: oir.Node, shift: Array) -> Array:
    """W c: what the constant input ``shift`` (one value per channel) adds to each output channel."""
    weight = _data(layer.inputs[1])
    if layer.op_type == "Gemm":
        return weight @ shift if int_attribute(layer, "transB", 0) else shift @ weight
    groups = int_attribute(layer, "group", 1)
    summed = weight.sum(tuple(range(2, weight.ndim))).reshape(groups, weight.shape[0] // groups, weight.shape[1])
    return np.einsum("goi,gi->go", summed, shift.reshape(groups, -1)).reshape(-1)


def _data(value: oir.Value | None) -> Array:
    return np.asarray(constant(value), np.float64)


def _store(value: oir.Value | None, data: Array) -> None:
    assert value is not None
    set_constant(value, data.astype(constant(value).dtype))  # type: ignore[union-attr]
