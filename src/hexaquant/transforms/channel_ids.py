"""Which channels of which tensors can only be rescaled together: integer labels on tensors, joined by union-find.

A tensor of rank r carries an int64 array of rank r whose dimensions are 1 (one label for all) or the tensor's own:
shape (1, C, 1, 1) labels the channels of an image, (1, heads, 1, width) those of an attention head. Equal labels
have equal scales. Label 0 is PINNED: its scale is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Dim = int | str | None

PINNED = 0
LARGEST = 1 << 20
"""Reshaped labels of more elements than this are not followed."""


class Labels:
    """A growing set of labels. ``union`` joins two arrays of them, element by element, with broadcasting."""

    def __init__(self) -> None:
        self._parent: list[int] = [PINNED]

    def fresh(self, count: int) -> Ids:
        """``count`` labels that were never used."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def union(self, a: Ids, b: Ids) -> None:
        """Join the labels that stand at the same place of ``a`` and ``b``; the smaller one represents both."""
        left, right = np.broadcast_arrays(a, b)
        pairs = np.unique(np.stack([left.ravel(), right.ravel()], 1), axis=0)
        for x, y in pairs.tolist():
            x = self._root(x)
            y = self._root(y)
            self._parent[max(x, y)] = min(x, y)

    def free(self, ids: Ids) -> int:
        """How many of ``ids`` are not joined with PINNED."""
        return sum(self._root(label) != PINNED for label in ids.ravel().tolist())

    def roots(self) -> Ids:
        """Label -> the one that represents it; PINNED for all joined with PINNED."""
        return np.array([self._root(label) for label in range(len(self._parent))], np.int64)

    def _root(self, label: int) -> int:
        parent = self._parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label


def unlabelled(rank: int) -> Ids:
    """Labels of a tensor that must not be rescaled."""
    return np.zeros((1,) * rank, np.int64)


def on_axis(ids: Ids, rank: int, axis: int) -> Ids:
    """Vector ``ids`` as labels of a tensor of ``rank`` along ``axis``."""
    shape = [1] * rank
    shape[axis] = len(ids)
    return ids.reshape(shape)


def vector(ids: Ids, axis: int, size: int) -> Ids | None:
    """The labels along ``axis`` as a vector of ``size``; None when another axis is labelled too."""
    axis %= ids.ndim
    if any(n != 1 for i, n in enumerate(ids.shape) if i != axis):
        return None
    return np.broadcast_to(ids.reshape(-1), (size,)) if ids.shape[axis] in (1, size) else None


def fits(ids: Ids, shape: Sequence[int]) -> bool:
    """Whether a constant of ``shape`` can be multiplied by one factor a label without growing."""
    try:
        return np.broadcast_shapes(ids.shape, tuple(shape)) == (1,) * max(0, ids.ndim - len(shape)) + tuple(shape)
    except ValueError:
        return False


def reshape_ids(ids: Ids, before: Sequence[Dim], after: Sequence[Dim]) -> Ids | None:
    """Labels after a reshape of the tensor from shape ``before`` to ``after``; None when they do not carry over.

    The two shapes are cut, from the right, into blocks of equal product; labels stay within their block. What lies
    left of an unknown dimension must have one label.
    """
    wide = [1] * len(before)
    result = [1] * len(after)
    i = len(before)
    j = len(after)
    while i > 0 and j > 0:
        sizes = _block(before[:i], after[:j])
        if sizes is None:
            break
        old = range(i - sizes[0], i)
        new = range(j - sizes[1], j)
        if any(ids.shape[k] != 1 for k in old):
            for k in old:
                wide[k] = int(str(before[k]))
            for k in new:
                result[k] = int(str(after[k]))
        i = i - sizes[0]
        j = j - sizes[1]
    if any(ids.shape[k] != 1 for k in range(i)) or np.prod(result) > LARGEST:
        return None
    return np.broadcast_to(ids, wide).reshape(result)


def _block(before: Sequence[Dim], after: Sequence[Dim]) -> tuple[int, int] | None:
    """How many of the last dimensions of both shapes have equal products; None when an unknown one is in the way."""
    taken = [1, 1]
    products = [before[-1], after[-1]]
    shapes = (before, after)
    while products[0] != products[1]:
        if not isinstance(products[0], int) or not isinstance(products[1], int):
            return None
        short = 0 if products[0] < products[1] else 1
        taken[short] += 1
        if taken[short] > len(shapes[short]):
            return None
        dim = shapes[short][-taken[short]]
        products[short] = dim * products[short] if isinstance(dim, int) else dim  # type: ignore[operator]
    return (taken[0], taken[1]) if isinstance(products[0], int) else None
