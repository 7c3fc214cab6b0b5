"""Pads as targets take them: pads of all axes, not negative, by a constant, the edge or the reflection.

1. ``axes``: the pads of the other axes are 0.
2. Negative pads: a Slice before the Pad of what is left.
3. mode "wrap", and "edge" and "reflect" at ranks other than 4: a Gather along each padded axis, which keeps the grid.

Legal when pads and axes are constants and the rank is known; for 3, when the padded axes have known sizes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import string_attribute
from hexaquant.ir.emitter import Emitter
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.symbolic import dims_of


def plain_pads(graph: Graph) -> int:
    """Returns the number of Pads rewritten."""
    changed = 0
    for node in graph.nodes:
        if node.op_type != "Pad" or node.domain != "":
            continue
        ends = _ends(node)
        mode = string_attribute(node, "mode", "constant")
        has_axes = len(node.inputs) > 3 and node.inputs[3] is not None
        if ends is None or not (has_axes or (ends < 0).any() or _gathers(node, mode)):
            continue
        if mode != "constant" and not _sizes_known(node, ends):
            continue
        _rewrite(node, ends, mode)
        changed += 1
    return changed


def _ends(node: oir.Node) -> np.ndarray | None:
    """(2, rank): what is added before and after each axis."""
    source = dims_of(node.inputs[0])
    pads = constant(node.inputs[1])
    given = node.inputs[3] if len(node.inputs) > 3 else None
    axes = constant(given) if given is not None else np.arange(len(source or ()))
    if source is None or pads is None or axes is None:
        return None
    ends = np.zeros((2, len(source)), np.int64)
    ends[:, axes.reshape(-1) % len(source)] = pads.reshape(2, -1)
    return ends


def _gathers(node: oir.Node, mode: str) -> bool:
    rank = len(dims_of(node.inputs[0]) or ())
    return mode == "wrap" or (mode in ("edge", "reflect") and rank != 4)


def _sizes_known(node: oir.Node, ends: np.ndarray) -> bool:
    dims = dims_of(node.inputs[0]) or []
    return all(dims[axis].is_Integer for axis in np.flatnonzero(ends.any(0)))


def _rewrite(node: oir.Node, ends: np.ndarray, mode: str) -> None:
    emit = Emitter(node)
    value = node.inputs[0]
    dims = dims_of(node.inputs[0]) or []
    assert value is not None
    if mode != "constant" and ((ends < 0).any() or _gathers(node, mode)):
        for axis in np.flatnonzero(ends.any(0)):
            index = _places(int(dims[axis]), int(ends[0, axis]), int(ends[1, axis]), mode)
            places = emit.constant(f"{value.name}_places{axis}", index)
            value = emit.op("Gather", [value, places], f"{value.name}_axis{axis}", axis=int(axis))
        emit.finish(value)
        return
    value = _cropped(emit, value, np.minimum(ends, 0))
    pads = emit.constant(f"{value.name}_pads", np.maximum(ends, 0).reshape(-1))
    fill = node.inputs[2] if len(node.inputs) > 2 else None
    emit.finish(emit.op("Pad", [value, pads, *([] if fill is None else [fill])], f"{value.name}_padded", mode=mode))


def _cropped(emit: Emitter, value: oir.Value, ends: np.ndarray) -> oir.Value:
    axes = np.flatnonzero(ends.any(0))
    if not len(axes):
        return value
    after = np.where(ends[1, axes] < 0, ends[1, axes], np.iinfo(np.int64).max)
    bounds = [emit.constant(f"{value.name}_crop", array) for array in (-ends[0, axes], after, axes.astype(np.int64))]
    return emit.op("Slice", [value, *bounds], f"{value.name}_cropped")


def _places(size: int, before: int, after: int, mode: str) -> np.ndarray:
    """Index into an axis of ``size`` for each position of the padded axis."""
    place = np.arange(-before, size + after)
    if mode == "edge":
        return place.clip(0, size - 1)
    if mode == "wrap":
        return place % size
    period = max(2 * (size - 1), 1)
    folded = place % period
    return np.minimum(folded, period - folded)
