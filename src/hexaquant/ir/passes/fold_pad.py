"""Fold a constant zero Pad into the pads of the Conv behind it.

1. Pad has mode "constant", pads that are constant, not negative and zero in the first two dimensions, value 0.
2. Its output goes to one Conv as data and nowhere else; the Conv's auto_pad is NOTSET or VALID.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import ints_attribute, producer, sole_consumer, string_attribute
from hexaquant.ir.graph import Graph, constant


def fold_pad(graph: Graph) -> int:
    """Returns the number of Pad nodes folded."""
    changed = 0
    for conv in graph.nodes:
        if conv.op_type != "Conv" or conv.domain != "":
            continue
        pad = producer(conv.inputs[0], "Pad")
        if pad is None or sole_consumer(pad.outputs[0]) is not conv:
            continue
        if string_attribute(conv, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            continue
        extra = spatial_pads(pad)
        if extra is None:
            continue
        own = ints_attribute(conv, "pads", [0] * len(extra))
        conv.attributes["pads"] = oir.AttrInt64s("pads", [a + b for a, b in zip(own, extra)])
        conv.attributes.pop("auto_pad", None)
        conv.replace_input_with(0, pad.inputs[0])
        graph.model.graph.remove(pad, safe=True)
        changed += 1
    return changed


def spatial_pads(pad: oir.Node, any_value: bool = False) -> list[int] | None:
    """Zeros (or ``any_value``) that ``pad`` adds in space, [begins..., ends...]; None if it does more."""
    amounts = constant(pad.inputs[1])
    value = pad.inputs[2] if len(pad.inputs) > 2 else None
    if string_attribute(pad, "mode", "constant") != "constant" or amounts is None or bool((amounts < 0).any()):
        return None
    number = constant(value)
    if not any_value and value is not None and (number is None or bool(np.any(number != 0))):
        return None
    amounts = _all_axes(pad, amounts)
    if amounts is None or amounts.size < 6:
        return None
    rank = amounts.size // 2
    if amounts[:2].any() or amounts[rank : rank + 2].any():
        return None
    return [int(a) for a in (*amounts[2:rank], *amounts[rank + 2 :])]


def _all_axes(pad: oir.Node, amounts: np.ndarray) -> np.ndarray | None:
    """Pads of every dimension, when the optional input ``axes`` names only some."""
    if len(pad.inputs) < 4 or pad.inputs[3] is None:
        return amounts
    axes = constant(pad.inputs[3])
    source = pad.inputs[0]
    if axes is None or source is None or source.shape is None:
        return None
    rank = len(source.shape)
    full = np.zeros(2 * rank, np.int64)
    for position, axis in enumerate(axes % rank):
        full[axis], full[rank + axis] = amounts[position], amounts[len(axes) + position]
    return full
