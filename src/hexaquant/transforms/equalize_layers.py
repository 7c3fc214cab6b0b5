"""Cross-layer equalization: neighbouring layers share the spread of their channels' ranges.

    s_v = sqrt(r1_v / r2_v),    W1' = W1 / s,  b1' = b1 / s,  W2' = W2 s

with r1_v the range (largest magnitude) of the weights that produce channel v and r2_v of those that read it; repeated
over all layers until nothing moves, since a layer between two others takes part in two equations. Afterwards both
ranges of a channel are sqrt(r1 r2): the product of the precisions of all channels is greatest.

Paper: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019
(arXiv:1906.04721), section 4.1, equations 6 to 11. Here the channels that several layers produce or read (residual
streams) are solved jointly: r1 and r2 are the largest over all of them.

Legal for what transforms/channel_scaling.py labels; the function is preserved to rounding. A Clip(0, c), such as
ReLU6, holds its channels fast unless calibration data shows that a channel stays away from c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hexaquant.ir.graph import Graph
from hexaquant.transforms.channel_ids import Ids
from hexaquant.transforms.channel_rules import find_scaling
from hexaquant.transforms.channel_scaling import Array, Operand, Scaling

MAX_ROUNDS = 200
CONVERGED = 1e-3
"""Largest change of a logarithm of a scale in the last round."""
LARGEST_STEP = np.log(1e4)
"""A scale stays within this logarithm of 1, so that channels that are nearly zero do not blow up their biases."""


@dataclass(frozen=True)
class Equalized:
    """``scaling``: what could be rescaled; ``scales``: the scale of each label; ``rounds``: until convergence."""

    scaling: Scaling
    scales: Array
    rounds: int


def equalize_layers(
    graph: Graph, *, clip_maxima: Mapping[str, Array] | None = None, residuals: bool = True
) -> Equalized:
    """Equalize ``graph`` (prepared for the target) in place; for the arguments see ``find_scaling``."""
    scaling = find_scaling(graph, clip_maxima=clip_maxima, residuals=residuals)
    scales, rounds = solve(scaling)
    scaling.apply(scales)
    return Equalized(scaling, scales, rounds)


def solve(scaling: Scaling) -> tuple[Array, int]:
    """Scales (one a label, the first 1) at which both ranges of every free channel agree, and the rounds it took."""
    tables = [_Table(operand) for operand in scaling.operands if operand.role == "weight"]
    logs = np.zeros(scaling.size)
    with np.errstate(divide="ignore"):
        lower = np.maximum(np.log(scaling.lower), -LARGEST_STEP)
    for done in range(1, MAX_ROUNDS + 1):
        written, read = ranges(tables, np.exp(logs))
        alive = (written > 0) & (read > 0)
        alive[0] = False
        step = np.zeros_like(logs)
        step[alive] = 0.5 * np.log(written[alive] / read[alive])
        moved = np.where(alive, np.clip(logs + step, lower, LARGEST_STEP), logs)
        change = float(np.abs(moved - logs).max())
        logs = moved
        if change < CONVERGED:
            return np.exp(logs), done
    return np.exp(logs), MAX_ROUNDS


class _Table:
    """Largest magnitudes of a weight over all axes that carry no labels (kernel positions)."""

    def __init__(self, operand: Operand) -> None:
        self.inputs = operand.inputs
        self.outputs = operand.outputs
        data = np.abs(operand.value.const_value.numpy()).astype(np.float64)  # type: ignore[union-attr]
        labelled = [ids.shape for ids in (self.inputs, self.outputs) if ids is not None]
        shapes = [(1,) * (data.ndim - len(shape)) + shape for shape in labelled]
        free = tuple(axis for axis in range(data.ndim) if all(shape[axis] == 1 for shape in shapes))
        self.largest = data.max(free, keepdims=True) if free else data

    def scaled(self, scales: Array) -> Array:
        table = self.largest
        if self.inputs is not None:
            table = table * scales[self.inputs]
        return table if self.outputs is None else table / scales[self.outputs]


def ranges(tables: list[_Table], scales: Array) -> tuple[Array, Array]:
    """For each label the largest rescaled weight that writes it and the largest that reads it (0: none does)."""
    written = np.zeros(len(scales))
    read = np.zeros(len(scales))
    for table in tables:
        scaled = table.scaled(scales)
        for result, ids in ((written, table.outputs), (read, table.inputs)):
            if ids is not None:
                _take_largest(result, ids, scaled)
    return written, read


def _take_largest(result: Array, ids: Ids, table: Array) -> None:
    rest = tuple(axis for axis in range(table.ndim) if ids.shape[axis] == 1)
    np.maximum.at(result, ids, table.max(rest, keepdims=True) if rest else table)
