"""GroupNormalization -> Reshape, InstanceNormalization, Reshape, Mul, Add (HTP has no group normalisation).

1. Scale and bias are constants of one value per channel; all dimensions but the batch are static.
2. The groups become the channels of a 4-D tensor [N, G, C/G * d1 * ..., dn]; InstanceNormalization with unit scale
   normalises over the rest: the same sums over the same elements.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, insert_before, int_attribute, replace_node
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.fold_constants import DERIVED_FROM
from hexaquant.ir.rule import Declined, Rule

Group = tuple[oir.Value, list[int], np.ndarray, np.ndarray]
"""Input, its dimensions without the batch, scale and bias."""


def _check(node: oir.Node) -> Group | Declined:
    source = node.inputs[0]
    scale = constant(node.inputs[1])
    bias = constant(node.inputs[2])
    dims = list(source.shape)[1:] if source is not None and source.shape is not None else []
    static = [d for d in dims if isinstance(d, int)]
    if scale is None or bias is None:
        return Declined("scale and bias are not constant")
    if source is None or len(static) != len(dims) or len(dims) < 2:
        return Declined("dimensions beside the batch are not known")
    return source, static, scale, bias


def _replace(graph: Graph, node: oir.Node, found: Group) -> None:
    source, dims, scale, bias = found
    inner = graph.model.graph
    name = node.outputs[0].name or "group_norm"
    groups = int_attribute(node, "num_groups", 1)
    grouped = [0, groups, dims[0] // groups * math.prod(dims[1:-1]), dims[-1]]
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    ones = add_constant(inner, f"{name}_unit", np.ones(groups, scale.dtype))
    zeros = add_constant(inner, f"{name}_zero", np.zeros(groups, scale.dtype))
    there = add_constant(inner, f"{name}_groups", np.array(grouped, np.int64))
    back = add_constant(inner, f"{name}_shape", np.array([0, *dims], np.int64))
    value = insert_before(node, "Reshape", [source, there], {}, f"{name}_grouped")
    value = insert_before(node, "InstanceNormalization", [value, ones, zeros], {"epsilon": epsilon}, f"{name}_normal")
    value = insert_before(node, "Reshape", [value, back], {}, f"{name}_ungrouped")
    factor, offset = (_per_channel(graph, node, i, a, len(dims)) for i, a in ((1, scale), (2, bias)))
    value = insert_before(node, "Mul", [value, factor], {}, f"{name}_scaled")
    replace_node(node, "Add", [value, offset], {})


def _per_channel(graph: Graph, node: oir.Node, index: int, data: np.ndarray, rank: int) -> oir.Value:
    parameter = node.inputs[index]
    name = parameter.name if parameter is not None else "group_norm"
    value = add_constant(graph.model.graph, f"{name}.folded", data.reshape(-1, *[1] * (rank - 1)))
    value.metadata_props[DERIVED_FROM] = f"{name} GroupNormalization"
    return value


decompose_groupnorm = Rule("decompose_groupnorm", ("GroupNormalization",), _check, _replace)
