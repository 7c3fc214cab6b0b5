"""Rotation of linear bottlenecks: what convolutions write without an activation, and convolutions read, is turned.

    x -> Q x,   W_out -> Q W_out,   b_out -> Q b_out,   W_in -> W_in Q^T,   with Q Q^T = I

The narrow tensors between the blocks of MobileNetV2, EfficientNet and their like (Sandler et al., arXiv:1801.04381)
pass from a projection through sums to expansions: a vector space without preferred axes. So the axes may be chosen, and
those are that leave the rows of all weights around it flat (transforms/flat_rotation.py). Rotations are known from
transformers (QuaRot, arXiv:2404.00456; SpinQuant, arXiv:2405.16406); no new operator is needed, nothing runs slower.

Legal for a space (transforms/rotation_spaces.py) that only sums, data movement, and ungrouped layers with constants of
their own touch, the network's inputs and outputs not among them, and that no normalization works on
(transforms/rotate_transformer.py has those). A convolution may have any kernel: its padding is zero, and zero stays
zero. The function stays the same to float32 rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hexaquant.ir.graph import Graph, shape_of
from hexaquant.transforms.flat_rotation import STEPS, Matrix, flat_rotation
from hexaquant.transforms.rotation_spaces import Port, Space, Spaces


@dataclass
class RotatedBottlenecks:
    """``sizes``: of each rotated space; ``layers``: those around each; ``declined``: layer that writes -> reason."""

    sizes: list[int] = field(default_factory=list)
    layers: list[list[str]] = field(default_factory=list)
    declined: dict[str, str] = field(default_factory=dict)


def rotate_bottlenecks(graph: Graph, *, steps: int = STEPS, seed: int = 0) -> RotatedBottlenecks:
    """Rotate ``graph`` (prepared for the target) in place; ``steps`` of learning, 0 for random rotations."""
    spaces, report = Spaces(graph), RotatedBottlenecks()
    normalized = {number for norm in spaces.norms for number in (norm.source, norm.result)}
    for number, space in spaces.items():
        weights = [port for port in space.writers if len(shape_of(port.value) or ()) > 1]
        if number in normalized or space.size < 2 or not weights:
            continue
        reason = space.blocked or ("" if space.readers else "no linear layer reads it")
        if reason:
            report.declined[str(graph.origin(weights[0].node))] = reason
            continue
        _rotate(space, weights, steps, seed + len(report.sizes))
        report.sizes.append(space.size)
        report.layers.append([str(graph.origin(port.node)) for port in (*weights, *space.readers)])
    return report


def _rotate(space: Space, weights: list[Port], steps: int, seed: int) -> None:
    writers = [port.data().reshape(space.size, -1) for port in weights]
    readers = [_rows(port.data()) for port in space.readers]
    rotation = flat_rotation(writers, readers, steps=steps, seed=seed)
    for port in space.writers + space.readers:
        port.turn(rotation)


def _rows(weight: Matrix) -> Matrix:
    """(rows, n, positions of the kernel) of a weight (n, rows, ...) that reads the space."""
    return np.moveaxis(weight, 1, 0).reshape(*weight.shape[1::-1], -1)
