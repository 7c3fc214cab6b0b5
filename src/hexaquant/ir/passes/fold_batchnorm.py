"""Fold BatchNormalization into the Conv, ConvTranspose or Gemm before it.

    y = (W x + b - mean) * s + beta,  s = scale / sqrt(var + eps)   =>   W' = s W,  b' = (b - mean) s + beta

1. BatchNormalization's parameters are constants, and its input comes from the layer and goes nowhere else.
2. The layer's weight is a constant that no other node reads; its bias is absent or such a constant.
3. Gemm: alpha and beta are 1, transA is 0. ConvTranspose: any group (output channels lie in group-major order).
4. The sums are done in float64 and stored in the weight's type; names of weight and bias stay; a new bias is called
   as the BatchNormalization's.
Otherwise it is left (see decompose_batchnorm); ``decline_reason`` says why.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, int_attribute, private_constant, set_constant, sole_consumer
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.fold_constants import DERIVED_FROM

FOLDED_NORMS = "hexaquant.folded_norms"
"""Metadata key of a weight into which BatchNormalizations were folded: JSON list of the names of their means."""

CHANNEL_MOMENTS = "hexaquant.channel_moments"
"""Key in ``meta`` (in memory only) of the output of a layer with a folded BatchNormalization: ChannelMoments."""


@dataclass(frozen=True)
class ChannelMoments:
    """What training data gave each channel behind a BatchNormalization: ``mean`` beta and ``deviation`` abs(gamma).

    ``bias``: of the layer that it was folded into, by which later rewriting of the layer is noticed.
    """

    mean: np.ndarray
    deviation: np.ndarray
    bias: np.ndarray


def fold_batchnorm(graph: Graph) -> int:
    """Returns the number of BatchNormalization nodes folded."""
    changed = 0
    for node in graph.nodes:
        if node.op_type != "BatchNormalization" or node.domain != "":
            continue
        affine = affine_of(node)
        if affine is not None and decline_reason(node) is None:
            _fold_into_layer(graph, node, *affine)
            changed += 1
    return changed


def decline_reason(node: oir.Node) -> str | None:
    """Why the BatchNormalization ``node`` cannot be folded into the node before it; None when it can."""
    source = node.inputs[0]
    layer = source.producer() if source is not None else None
    if layer is None or layer.op_type not in ("Conv", "ConvTranspose", "Gemm") or layer.domain != "":
        return "it does not follow a Conv, ConvTranspose or Gemm"
    if sole_consumer(source) is not node:
        return f"the output of '{layer.name}' is also used elsewhere"
    if private_constant(layer.inputs[1]) is None:
        return f"the weight of '{layer.name}' is shared or not constant"
    bias = _bias(layer)
    if bias is not None and private_constant(bias) is None:
        return f"the bias of '{layer.name}' is shared or not constant"
    if layer.op_type == "Gemm" and not _plain_gemm(layer):
        return f"'{layer.name}' scales or transposes its input"
    return None


def folded_norms(weight: oir.Value) -> list[str]:
    """Names of the means ("bn1.running_mean") of the BatchNormalizations folded into ``weight``, in their order."""
    names: list[str] = json.loads(weight.metadata_props.get(FOLDED_NORMS, "[]"))
    return names


def _plain_gemm(layer: oir.Node) -> bool:
    one = all(layer.attributes[k].as_float() == 1.0 for k in ("alpha", "beta") if k in layer.attributes)
    return one and int_attribute(layer, "transA", 0) == 0


def _bias(layer: oir.Node) -> oir.Value | None:
    return layer.inputs[2] if len(layer.inputs) > 2 else None


def affine_of(node: oir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """Scale and shift a channel, float64, of a BatchNormalization with constant parameters."""
    parameters = [constant(v) for v in node.inputs[1:5]]
    if any(p is None for p in parameters) or int_attribute(node, "training_mode", 0):
        return None
    gamma, beta, mean, variance = (np.asarray(p, np.float64) for p in parameters)
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def _fold_into_layer(graph: Graph, node: oir.Node, scale: np.ndarray, shift: np.ndarray) -> None:
    layer = node.inputs[0].producer()  # type: ignore[union-attr]
    assert layer is not None and layer.inputs[1] is not None
    weight = constant(layer.inputs[1])
    assert weight is not None
    bias = constant(_bias(layer))
    scaled = _scale_outputs(layer, np.asarray(weight, np.float64), scale)
    set_constant(layer.inputs[1], scaled.astype(weight.dtype))
    name = layer.inputs[1].name or ""
    layer.inputs[1].metadata_props[DERIVED_FROM] = f"{name} BatchNormalization"
    mean = node.inputs[3]
    names = [*folded_norms(layer.inputs[1]), (mean.name if mean is not None else "") or ""]
    layer.inputs[1].metadata_props[FOLDED_NORMS] = json.dumps(names)
    new_bias = (shift if bias is None else np.asarray(bias, np.float64).reshape(-1) * scale + shift).astype(
        weight.dtype
    )
    _set_bias(graph, layer, node, new_bias)
    old, result = layer.outputs[0], node.outputs[0]
    gamma, beta = (np.asarray(constant(v), np.float64) for v in node.inputs[1:3])
    old.meta[CHANNEL_MOMENTS] = ChannelMoments(beta, np.abs(gamma), new_bias)
    old.name, name = None, result.name or ""
    result.replace_all_uses_with(old, replace_graph_outputs=True)
    result.name, old.name = None, name
    graph.model.graph.remove(node, safe=True)


def _scale_outputs(layer: oir.Node, weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    if layer.op_type == "Conv":
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    if layer.op_type == "Gemm":
        return weight * (scale[:, None] if int_attribute(layer, "transB", 0) else scale[None, :])
    groups = int_attribute(layer, "group", 1)
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    factor = scale.reshape(groups, 1, weight.shape[1], *[1] * (weight.ndim - 2))
    return (split * factor).reshape(weight.shape)


def _set_bias(graph: Graph, layer: oir.Node, node: oir.Node, bias: np.ndarray) -> None:
    existing = _bias(layer)
    if existing is not None:
        set_constant(existing, bias)
        existing.metadata_props[DERIVED_FROM] = f"{existing.name} BatchNormalization"
        return
    beta = node.inputs[2]
    weight_name = layer.inputs[1].name if layer.inputs[1] is not None else None
    base = weight_name.removesuffix("weight") + "bias" if weight_name and weight_name.endswith("weight") else None
    value = add_constant(graph.model.graph, base or f"{beta.name if beta else layer.name}_folded", bias)
    value.metadata_props[DERIVED_FROM] = f"{beta.name if beta is not None else ''} BatchNormalization"
    layer.resize_inputs(max(3, len(layer.inputs)))
    layer.replace_input_with(2, value)
