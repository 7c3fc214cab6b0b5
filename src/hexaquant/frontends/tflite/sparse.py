"""Sparse tensors of TensorFlow Lite as dense arrays.

A tensor is stored level by level in the order ``traversal``: first its (outer) axes, then the axes within a block. A
dense level has ``size`` children for each entry of the level before; a sparse one has segments of indices (compressed
rows), as in "Format Abstraction for Sparse Tensor Algebra Compilers", Chou et al., 2018. The values are the leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hexaquant.frontends.tflite.flatbuffer import DamagedFile


@dataclass(frozen=True)
class Level:
    """``segments`` and ``indices`` are None where the level is dense."""

    size: int
    segments: np.ndarray | None = None
    indices: np.ndarray | None = None


@dataclass(frozen=True)
class Sparsity:
    """``traversal``: axis of each level, those from the rank on are blocks; ``blocks``: the axis of each block."""

    traversal: Sequence[int]
    blocks: Sequence[int]
    levels: Sequence[Level]


def densify(values: np.ndarray, shape: Sequence[int], sparsity: Sparsity) -> np.ndarray:
    """The array of ``shape`` whose stored ``values`` lie where ``sparsity`` says, zero elsewhere.

    Raises DamagedFile where they do not fit.
    """
    limit = int(np.prod(shape, dtype=np.int64))
    if sorted(sparsity.traversal) != list(range(len(sparsity.levels))):
        raise DamagedFile("a sparse tensor's traversal order is no permutation of its levels")
    positions: dict[int, np.ndarray] = {}
    leaves = np.zeros(1, np.int64)
    for axis, level in zip(sparsity.traversal, sparsity.levels, strict=True):
        parents, along, leaves = _children(leaves, level, limit)
        positions = {known: array[parents] for known, array in positions.items()}
        positions[axis] = along
    dense = np.zeros(shape, values.dtype)
    if leaves.size and (leaves.max() >= values.size or leaves.min() < 0):
        raise DamagedFile("a sparse tensor has fewer values than its indices need")
    dense[_coordinates(positions, shape, sparsity)] = values[leaves]
    return dense


def _children(entries: np.ndarray, level: Level, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the next level: the parent's place among ``entries``, the position along the level, the entry's number."""
    if level.segments is None or level.indices is None:
        if entries.size * level.size > limit:
            raise DamagedFile("a sparse tensor has more values than its shape")
        parents = np.repeat(np.arange(entries.size), level.size)
        along = np.tile(np.arange(level.size), entries.size)
        return parents, along, entries[parents] * level.size + along
    segments = level.segments.astype(np.int64)
    if entries.size and entries.max() + 1 >= segments.size:
        raise DamagedFile("a sparse tensor's segments end too early")
    starts = segments[entries]
    counts = segments[entries + 1] - starts
    if (counts < 0).any() or counts.sum() > min(limit, level.indices.size):
        raise DamagedFile("a sparse tensor's segments do not fit its indices")
    parents = np.repeat(np.arange(entries.size), counts)
    within = np.arange(parents.size) - np.repeat(np.cumsum(counts) - counts, counts)
    numbers = starts[parents] + within
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < level.indices.size:
        raise DamagedFile("a sparse tensor's segments do not fit its indices")
    return parents, level.indices[numbers].astype(np.int64), numbers


def _coordinates(positions: dict[int, np.ndarray], shape: Sequence[int], sparsity: Sparsity) -> tuple[np.ndarray, ...]:
    """The index of each leaf along every axis of the dense array."""
    rank = len(shape)
    sizes = {axis: level.size for axis, level in zip(sparsity.traversal, sparsity.levels, strict=True)}
    result = [positions[axis] for axis in range(rank)]
    for number, axis in enumerate(sparsity.blocks):
        if not 0 <= axis < rank or rank + number not in positions:
            raise DamagedFile("a sparse tensor's blocks belong to no axis of it")
        result[axis] = result[axis] * sizes[rank + number] + positions[rank + number]
    if any(along.size and along.max() >= size for along, size in zip(result, shape, strict=True)):
        raise DamagedFile("a sparse tensor's indices lie outside its shape")
    return tuple(result)
