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
import numpy.typing as npt
import onnx_ir as oir

from hexaquant.ir.edit import producer
from hexaquant.ir.graph import Graph
from hexaquant.transforms.channel_ids import PINNED, Ids
from hexaquant.transforms.channel_rules import find_scaling
from hexaquant.transforms.channel_scaling import Operand, Scaling
from hexaquant.transforms.rotation_spaces import data_of, store

# Orthogonal matrices that spread one large channel over all: randomized Hadamard matrices that keep the mean.
#
#     Q Q^T = I,   Q 1 = 1
#
# The second property lets a matrix pass a LayerNormalization, whose subtraction of the mean it then commutes with.

Matrix = npt.NDArray[np.float64]


def mixing_matrix(size: int, seed: int = 0) -> Matrix:
    """Orthogonal (size, size) with Q 1 = 1 whose entries all have a magnitude near 1 / sqrt(size).

    A Hadamard matrix with random signs, then the reflection that puts the image of the mean back onto the mean.
    Sizes for which none is constructed here get a random orthogonal matrix instead.
    """
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size)
    found = hadamard(size)
    mixed = np.linalg.qr(rng.standard_normal((size, size)))[0] if found is None else found / np.sqrt(size)
    mixed = mixed * signs
    mean = np.full(size, 1 / np.sqrt(size))
    direction = mixed @ mean - mean
    length = float(direction @ direction)
    if length < 1e-24:
        return mixed
    return mixed - np.outer(2 * direction / length, direction @ mixed)


def hadamard(size: int) -> Matrix | None:
    """Entries +-1, H H^T = size I: Sylvester's doubling of 1 or of Paley's q + 1 (q a prime, 3 mod 4); else None."""
    core = size
    while core > 1 and core % 2 == 0 and not _is_paley(core):
        core //= 2
    if core != 1 and not _is_paley(core):
        return None
    matrix = np.ones((1, 1)) if core == 1 else _paley(core - 1)
    while len(matrix) < size:
        matrix = np.kron(np.array([[1.0, 1.0], [1.0, -1.0]]), matrix)
    return matrix


def _is_paley(order: int) -> bool:
    q = order - 1
    return q > 2 and q % 4 == 3 and all(q % d for d in range(2, int(q**0.5) + 1))


def _paley(q: int) -> Matrix:
    squares = {(x * x) % q for x in range(1, q)}
    character = np.array([0.0] + [1.0 if x in squares else -1.0 for x in range(1, q)])
    jacobsthal = character[(np.arange(q)[:, None] - np.arange(q)) % q]
    skew = np.zeros((q + 1, q + 1))
    skew[0, 1:], skew[1:, 0], skew[1:, 1:] = 1, -1, jacobsthal
    return skew + np.eye(q + 1)


PASSES = frozenset(["Reshape", "Transpose", "MatMul", "Gemm"])


@dataclass
class RotatedHeads:
    """``layers``: the layer that writes the values of each rotated attention; ``declined``: layer -> reason."""

    layers: list[str] = field(default_factory=list)
    declined: dict[str, str] = field(default_factory=dict)


def rotate_heads(graph: Graph, seed: int = 0) -> RotatedHeads:
    """Rotate ``graph`` (prepared for the target) in place."""
    scaling = find_scaling(graph)
    report = RotatedHeads()
    for node in graph.nodes:
        if node.op_type != "MatMul" or producer(node.inputs[0], "Softmax") is None:
            continue
        heads = _heads(scaling, node)
        name = str(graph.origin(node))
        reason = _decline_reason(graph, scaling, heads)
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
