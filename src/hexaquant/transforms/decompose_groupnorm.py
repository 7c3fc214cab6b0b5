"""GroupNormalization, which the target refuses, becomes InstanceNormalization over the groups.

    GroupNorm(x; G, gamma, beta) = InstanceNorm(reshape(x, (N, G, -1))) reshaped back, times gamma plus beta

Wu and He, "Group Normalization", ECCV 2018. Legal when gamma and beta are constants (one value a channel) and all
dimensions of the input but the first are known.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, insert_before, int_attribute, replace_node
from hexaquant.ir.graph import Graph, constant, shape_of


def decompose_groupnorm(graph: Graph) -> int:
    """Returns the number of operators replaced."""
    changed = 0
    for node in graph.nodes:
        if node.op_type == "GroupNormalization" and _is_legal(node):
            _rewrite(graph.model.graph, node)
            changed += 1
    return changed


def _is_legal(node: oir.Node) -> bool:
    shape = shape_of(node.inputs[0]) if node.inputs[0] is not None else None
    if shape is None or not all(isinstance(d, int) for d in shape[1:]):
        return False
    gamma, beta = constant(node.inputs[1]), constant(node.inputs[2])
    return gamma is not None and beta is not None and gamma.shape == beta.shape == (shape[1],)


def _rewrite(graph: oir.Graph, node: oir.Node) -> None:
    x = node.inputs[0]
    assert x is not None
    shape = shape_of(x) or ()
    groups, name = int_attribute(node, "num_groups", 1), node.outputs[0].name or "groupnorm"
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    rest = [int(d) for d in shape[1:]]  # type: ignore[arg-type]
    grouped_shape = [-1, groups, int(np.prod(rest)) // groups]

    def reshape(source: oir.Value, dims: list[int], part: str) -> oir.Value:
        target = add_constant(graph, f"{name}_{part}_shape", np.array(dims, np.int64))
        value = insert_before(node, "Reshape", [source, target], {}, f"{name}_{part}")
        value.shape, value.type = oir.Shape([shape[0], *dims[1:]]), x.type
        return value

    grouped = reshape(x, grouped_shape, "grouped")
    ones = add_constant(graph, f"{name}_ones", np.ones(groups, np.float32))
    zeros = add_constant(graph, f"{name}_zeros", np.zeros(groups, np.float32))
    norm = insert_before(node, "InstanceNormalization", [grouped, ones, zeros], {"epsilon": epsilon}, f"{name}_norm")
    norm.shape, norm.type = grouped.shape, x.type
    whole = reshape(norm, [-1, *rest], "whole")
    view = [1, rest[0]] + [1] * (len(rest) - 1)
    gamma = add_constant(graph, f"{name}_gamma", constant(node.inputs[1]).reshape(view))  # type: ignore[union-attr]
    beta = add_constant(graph, f"{name}_beta", constant(node.inputs[2]).reshape(view))  # type: ignore[union-attr]
    scaled = insert_before(node, "Mul", [whole, gamma], {}, f"{name}_scaled")
    scaled.shape, scaled.type = whole.shape, x.type
    replace_node(node, "Add", [scaled, beta], {})
