"""Bounds that bound nothing are dropped: Max with -inf, Min with +inf, Clip between them, MaxPool of a Pad with -inf.

1. The constant is infinite, or beyond 1e30 in size (float32's least and largest number stand for infinity there).
2. Of Max and Min: it has one element and no more dimensions than the others; one operand is left.
3. A Pad with such a constant, or its lowest number, that alone feeds a MaxPool becomes the pool's own padding, which is
   never the largest. Padding is of spatial dimensions only and below the kernel's size.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import ints_attribute, producer, replace_node, sole_consumer, string_attribute
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.fold_pad import spatial_pads

INFINITE = 1e30
"""Nothing that a network computes is so large: one step of 16 bits would be 1e25."""


def drop_infinite_bounds(graph: Graph) -> int:
    """Returns the number of bounds dropped."""
    changed = 0
    for node in graph.nodes:
        if node.domain != "":
            continue
        if node.op_type in ("Max", "Min"):
            changed += _of_extremum(node, 1 if node.op_type == "Min" else -1)
        elif node.op_type == "Clip":
            changed += _of_clip(node)
        elif node.op_type == "MaxPool":
            changed += _of_pool(graph, node)
    return changed


def _is_beyond(value: oir.Value | None, sign: int) -> bool:
    data = constant(value)
    return data is not None and data.dtype.kind == "f" and data.size > 0 and bool((sign * data >= INFINITE).all())


def _of_extremum(node: oir.Node, sign: int) -> bool:
    values = [v for v in node.inputs if v is not None]
    kept = [v for v in values if not (_is_beyond(v, sign) and (v.const_value is None or v.const_value.size == 1))]
    if len(kept) == len(values) or not kept or any(v.shape is None for v in values):
        return False
    if max(len(v.shape or ()) for v in values) > max(len(v.shape or ()) for v in kept):
        return False
    replace_node(node, node.op_type if len(kept) > 1 else "Identity", kept, {})
    return True


def _of_clip(node: oir.Node) -> bool:
    changed = False
    for index, sign in ((1, -1), (2, 1)):
        if len(node.inputs) > index and _is_beyond(node.inputs[index], sign):
            node.replace_input_with(index, None)
            changed = True
    if changed and all(v is None for v in node.inputs[1:]):
        replace_node(node, "Identity", [node.inputs[0]], {})
    return changed


def _of_pool(graph: Graph, pool: oir.Node) -> bool:
    pad = producer(pool.inputs[0], "Pad")
    if pad is None or sole_consumer(pad.outputs[0]) is not pool or len(pad.inputs) < 3:
        return False
    if not _is_beyond(pad.inputs[2], -1) or string_attribute(pool, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    extra = spatial_pads(pad, any_value=True)
    if extra is None:
        return False
    kernel = ints_attribute(pool, "kernel_shape")
    pads = np.array(ints_attribute(pool, "pads", [0] * len(extra))) + extra
    if any(p >= k for p, k in zip(pads, [*kernel, *kernel], strict=True)):
        return False
    pool.attributes["pads"] = oir.AttrInt64s("pads", [int(p) for p in pads])
    pool.attributes.pop("auto_pad", None)
    pool.replace_input_with(0, pad.inputs[0])
    graph.model.graph.remove(pad, safe=True)
    return True
