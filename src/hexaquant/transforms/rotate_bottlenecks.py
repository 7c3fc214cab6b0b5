"""Rotation of linear bottlenecks: what convolutions write without an activation, and convolutions read, is turned.

    x -> Q x,   W_out -> Q W_out,   b_out -> Q b_out,   W_in -> W_in Q^T,   with Q Q^T = I

The narrow tensors between the blocks of MobileNetV2, EfficientNet and their like (Sandler et al., arXiv:1801.04381)
pass from a projection through sums to expansions: a vector space without preferred axes. So the axes may be chosen, and
those are that leave the rows of all weights around it flat (transforms/rotate_bottlenecks.py). Rotations are known from
transformers (QuaRot, arXiv:2404.00456; SpinQuant, arXiv:2405.16406); no new operator is needed, nothing runs slower.

Legal for a space (transforms/rotation_spaces.py) that only sums, data movement, and ungrouped layers with constants of
their own touch, the network's inputs and outputs not among them, and that no normalization works on
(transforms/rotate_transformer.py has those). A convolution may have any kernel: its padding is zero, and zero stays
zero. The function stays the same to float32 rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hexaquant.ir.graph import Graph, shape_of
from hexaquant.transforms.rotation_spaces import Port, Space, Spaces

# The orthogonal matrix that makes the rows of several weights flat, so that coarse steps lose less of them.
#
# Weights W (rows, n, m) that read a space become W Q^T, weights (n, m) that write it Q W. A row of 4 bits has 15 levels
# between its largest magnitudes: its rounding error is proportional to the square of those over that of the row, so the
# flattest rows are the best. With a soft maximum, p = 8::
#
#     minimise over Q   sum_l log sum_r (mean_k |w_lrk|^p)^(2/p) / sum_rk w_lrk^2,    Q = (I + S)^-1 (I - S) Q0
#
# S is skew-symmetric, so Q stays orthogonal (Cayley transform: Wen and Yin, Mathematical Programming 142, 2013); Q0 is
# random. Liu et al., "SpinQuant", ICLR 2025 (arXiv:2405.16406) learn rotations so, there on the loss of the whole
# network. Here no data is needed and seconds are enough: the 50 layers of EfficientNet-Lite0 take 15 s.

Matrix = npt.NDArray[np.float64]
POWER = 8
STEPS = 100
RATE = 0.02
"""Of Adam on S, falling to 0."""
WORK = 2e12
"""Multiplications that one space may cost, about half a minute on one core; the first steps gain the most."""
FEWEST = 20
"""Steps that even a space of thousands of channels gets."""


def flat_rotation(writers: Sequence[Matrix], readers: Sequence[Matrix], *, steps: int = STEPS, seed: int = 0) -> Matrix:
    """Orthogonal (n, n), float64. ``writers``: (n, m) each; ``readers``: (rows, n, m) each; ``steps`` 0 is Q0.

    The identity for weights that are not finite, which calibration names.
    """
    n = writers[0].shape[0] if writers else readers[0].shape[1]
    generator = torch.Generator().manual_seed(seed)
    start = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator))[0].float()
    out, into = [[_normalized(w) for w in part] for part in (writers, readers)]
    skew = torch.zeros(n, n, requires_grad=True)
    optimizer = torch.optim.Adam([skew], lr=RATE)
    steps = affordable(steps, n, sum(w.numel() for w in out + into))
    with torch.enable_grad():
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)
            loss = peakedness(_cayley(skew, start), out, into)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    found = _cayley(skew.detach(), start).double()
    if not bool(found.isfinite().all()):
        return np.eye(n)
    u, _, vh = torch.linalg.svd(found)
    return np.asarray((u @ vh).numpy())


def _normalized(weight: Matrix) -> Tensor:
    """float32, of mean square 1 (a weight of zeros stays): its eighth powers do not overflow."""
    with np.errstate(invalid="ignore", over="ignore"):
        size = float(np.sqrt(np.square(weight).mean()))
        return torch.from_numpy(weight / (size or 1.0)).float()


def affordable(steps: int, size: int, elements: int) -> int:
    """As many of ``steps`` as stay below WORK, or FEWEST: a space of ``size`` with ``elements`` weights around it."""
    one = 6.0 * size * (elements + size**2)
    return min(steps, max(FEWEST, int(WORK / one)))


def peakedness(rotation: Tensor, writers: Sequence[Tensor], readers: Sequence[Tensor]) -> Tensor:
    """The sum over all weights, rotated, of the logarithm of their soft squared maxima over their mean squares."""
    rows = [rotation @ w for w in writers]
    rows += [torch.einsum("ij,rjm->rim", rotation, w).flatten(1) for w in readers]
    total = rotation.new_zeros(())
    for w in rows:
        largest = (w.abs().pow(POWER).mean(1) + 1e-20).pow(2 / POWER)
        total = total + torch.log(largest.sum() * w.shape[1] / w.square().sum().clamp(min=1e-20))
    return total


def _cayley(skew: Tensor, start: Tensor) -> Tensor:
    half = (skew - skew.t()) / 2
    one = torch.eye(len(skew))
    return torch.linalg.solve(one + half, one - half) @ start


@dataclass
class RotatedBottlenecks:
    """``sizes``: of each rotated space; ``layers``: those around each; ``declined``: layer that writes -> reason."""

    sizes: list[int] = field(default_factory=list)
    layers: list[list[str]] = field(default_factory=list)
    declined: dict[str, str] = field(default_factory=dict)


def rotate_bottlenecks(graph: Graph, *, steps: int = STEPS, seed: int = 0) -> RotatedBottlenecks:
    """Rotate ``graph`` (prepared for the target) in place; ``steps`` of learning, 0 for random rotations."""
    spaces = Spaces(graph)
    report = RotatedBottlenecks()
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
