"""Offline Hadamard rotation between the values and the output projection of attention heads (R2).

    v -> R v,   W_v -> R W_v,   b_v -> R b_v,   W_o -> W_o R^T      for each head, R R^T = I

The attention weights mix positions, not channels, so that R passes them: softmax(q k^T) v R^T = (softmax(q k^T) v) R^T.

Paper: Ashkboos et al., "QuaRot", NeurIPS 2024 (arXiv:2404.00456), section 4, step 1c (the part that needs no operator
at run time). Legal when only reshapes, transposes and the product with the attention weights lie between one linear
layer that writes the values and one that reads the heads' outputs, and nothing else reads their weights and biases.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import producer
from hexaquant.ir.graph import Graph
from hexaquant.transforms.channel_ids import PINNED, Ids
from hexaquant.transforms.channel_rules import find_scaling
from hexaquant.transforms.channel_scaling import Operand, Scaling
from hexaquant.transforms.orthogonal import Matrix, mixing_matrix
from hexaquant.transforms.rotation_spaces import data_of, store

PASSES = frozenset(["Reshape", "Transpose", "MatMul", "Gemm"])


@dataclass
class RotatedHeads:
    """``layers``: the layer that writes the values of each rotated attention; ``declined``: layer -> reason."""

    layers: list[str] = field(default_factory=list)
    declined: dict[str, str] = field(default_factory=dict)


def rotate_heads(graph: Graph, seed: int = 0) -> RotatedHeads:
    """Rotate ``graph`` (prepared for the target) in place."""
    scaling, report = find_scaling(graph), RotatedHeads()
    for node in graph.nodes:
        if node.op_type != "MatMul" or producer(node.inputs[0], "Softmax") is None:
            continue
        heads = _heads(scaling, node)
        name, reason = str(graph.origin(node)), _decline_reason(graph, scaling, heads)
        if reason is not None:
            report.declined[name] = reason
            continue
        rotation = mixing_matrix(heads.shape[1], seed)
        for operand in scaling.operands:
            for ids in (operand.inputs, operand.outputs):
                if ids is not None and np.isin(ids, heads).any():
                    _turn(operand, ids, heads, rotation)
        writer = next(o for o in scaling.operands if o.outputs is not None and np.isin(o.outputs, heads).any())
        report.layers.append(str(graph.origin(writer.node)))
    return report


def _heads(scaling: Scaling, node: oir.Node) -> Ids:
    """Labels (heads, channels of a head) of the second operand, the values; one pinned label when it has none."""
    value = node.inputs[1]
    ids = scaling.labels.get((value.name if value is not None else None) or "")
    if ids is None or ids.ndim < 2 or ids.shape[-2] != 1 or ids.shape[-1] < 2:
        return np.full((1, 1), PINNED)
    return ids.reshape(-1, ids.shape[-1])


def _decline_reason(graph: Graph, scaling: Scaling, heads: Ids) -> str | None:
    if (heads == PINNED).any():
        return "something between the values and the output projection does not pass a rotation"
    if len(np.unique(heads)) != heads.size:
        return "heads share their values (grouped queries)"
    touching = [o for o in scaling.operands if o.role == "weight" and _touches(o, heads)]
    if len(touching) != 2 or any(o.value.shape is None or len(o.value.shape) != 2 for o in touching):
        return "the values are written or read by more than one linear layer"
    for node in graph.nodes:
        labels = (scaling.labels.get(v.name or "") for v in node.outputs)
        if node.op_type not in PASSES and any(ids is not None and np.isin(ids, heads).any() for ids in labels):
            return f"{node.op_type} between the values and the output projection does not pass a rotation"
    return None


def _touches(operand: Operand, heads: Ids) -> bool:
    return any(ids is not None and bool(np.isin(ids, heads).any()) for ids in (operand.inputs, operand.outputs))


def _turn(operand: Operand, ids: Ids, heads: Ids, rotation: Matrix) -> None:
    """Multiply the channels of each head, along the axis that ``ids`` label, by ``rotation``."""
    axis = int(np.argmax(ids.shape))
    places = {int(label): index for index, label in enumerate(ids.ravel())}
    data = np.moveaxis(data_of(operand.value), axis, 0).copy()
    for head in heads:
        rows = [places[int(label)] for label in head]
        data[rows] = np.tensordot(rotation, data[rows], (1, 0))
    store(operand.value, np.moveaxis(data, 0, axis))
