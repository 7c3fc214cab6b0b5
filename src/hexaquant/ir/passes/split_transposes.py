"""Transpose of many axes as Transposes of few: axes that move together are one, and what is left goes in steps.

A permutation that cuts the axes into n blocks (runs of axes that stay next to each other) is a Transpose of rank n
between Reshapes. One with too many blocks is the product of two with fewer, found by trying all of them.
"""

from __future__ import annotations

import functools
import itertools
import math

import onnx_ir as oir
import sympy

from hexaquant.ir.edit import ints_attribute
from hexaquant.ir.emitter import Emitter, free_dims
from hexaquant.ir.symbolic import dims_of

Perm = tuple[int, ...]

MOST_AXES = 8
"""Of more blocks the search (all permutations) takes too long."""


def split_transpose(node: oir.Node, limit: int) -> bool:
    """Write the Transpose ``node`` on at most ``limit`` axes at a time. False, and nothing changed, if it cannot be."""
    value = node.inputs[0]
    assert value is not None
    perm = tuple(ints_attribute(node, "perm") or reversed(range(len(value.shape or ()))))
    for view in (free_dims, dims_of):
        dims = view(value)
        if dims is None or sum(not d.is_Integer for d in dims) > 1:
            return False
        moved = [axis for axis in perm if dims[axis] != 1]
        order = sorted(moved)
        steps = _steps(tuple(order.index(axis) for axis in moved), limit)
        if steps is not None:
            _write(node, [dims[axis] for axis in order], steps, [dims[axis] for axis in perm])
            return True
    return False


def blocks(perm: Perm) -> list[list[int]]:
    """The runs of axes that stay next to each other, in the order of the output."""
    runs: list[list[int]] = []
    for axis in perm:
        if runs and axis == runs[-1][-1] + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


@functools.lru_cache(maxsize=256)
def _steps(perm: Perm, limit: int) -> tuple[Perm, ...] | None:
    """Permutations of at most ``limit`` blocks, one after the other the same as ``perm``."""
    if len(blocks(perm)) <= limit:
        return (perm,)
    if len(perm) > MOST_AXES:
        return None
    best: tuple[int, Perm, Perm] | None = None
    for first in itertools.permutations(range(len(perm))):
        if len(blocks(first)) > limit:
            continue
        rest = tuple(first.index(axis) for axis in perm)
        cost = len(blocks(first)) + len(blocks(rest))
        if len(blocks(rest)) <= limit and (best is None or cost < best[0]):
            best = cost, first, rest
    return None if best is None else best[1:]


def _write(node: oir.Node, dims: list[sympy.Expr], steps: tuple[Perm, ...], result: list[sympy.Expr]) -> None:
    emit = Emitter(node)
    value = node.inputs[0]
    name = node.outputs[0].name or "turned"
    assert value is not None
    for step in steps:
        runs = blocks(step)
        order = sorted(runs)
        merged = [math.prod((dims[axis] for axis in run), start=sympy.Integer(1)) for run in order]
        value = emit.reshaped(value, merged, f"{name}_blocks")
        value = emit.transposed(value, [order.index(run) for run in runs], f"{name}_turned")
        dims = [dims[axis] for axis in step]
    emit.finish(emit.reshaped(value, result, f"{name}_apart"))
