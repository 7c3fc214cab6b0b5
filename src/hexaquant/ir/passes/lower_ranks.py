"""Tensors of rank 6 and more become tensors of rank 5 and less.

1. Every operator on such a tensor is written on merged axes, between Reshapes (merge_axes.py, split_transposes.py).
   So are the operators of LOW at rank 5, for which targets have kernels of rank 4 only, and products of two computed
   tensors, which they multiply more exactly there.
2. A ScatterND whose constant indices cover a slab of one axis is a Concat of what lies before, the updates, and what
   lies behind (in-place decoding of boxes, y[..., 0:2] = f (y)).
3. Reshape of a Reshape reads what the first one read; so no tensor of high rank is left between two operators.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir
import sympy

from hexaquant.ir.emitter import Emitter, free_dims
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.match import names_in
from hexaquant.ir.passes.merge_axes import merge_axes
from hexaquant.ir.passes.split_transposes import split_transpose
from hexaquant.ir.symbolic import dims_of

MAX_RANK = 5

LOW = names_in(
    "And Asin Atan Cast Ceil Cos Elu Equal Floor Gelu HardSigmoid HardSwish LayerNormalization Log LogSoftmax "
    "LpNormalization MatMul Max Min Neg Not Or RMSNormalization ReduceL2 ReduceMax ReduceMin Round Selu Sign "
    "Sin Softplus Sqrt Tan Tanh TopK Xor"
)
"""Operators with kernels of rank 4 at most in one scheme or another (release 2.7.0; htp/legality.json)."""

INTEGER_LOW = frozenset(["Add", "Sub", "Mul", "Div", "Mod", "Gather"])
"""Likewise of integers."""

RESHAPING = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


def lower_ranks(graph: Graph) -> int:
    """Returns the number of operators rewritten."""
    changed = 0
    for node in graph.nodes:
        if node.op_type == "ScatterND" and node.domain == "":
            changed += _slab(node)
        elif node.op_type in RESHAPING:
            changed += _skip_reshape(node)
        elif _rank(node) > (limit := _limit(node)):
            changed += split_transpose(node, limit) if node.op_type == "Transpose" else merge_axes(node, limit)
    return changed


def _rank(node: oir.Node) -> int:
    return max(
        (len(v.shape) for v in (*node.inputs, *node.outputs) if v is not None and v.shape is not None), default=0
    )


def _limit(node: oir.Node) -> int:
    data = next((v for v in node.inputs if v is not None), None)
    whole = data is not None and data.dtype is not None and data.dtype.is_integer()
    return MAX_RANK - 1 if node.op_type in LOW or (whole and node.op_type in INTEGER_LOW) else MAX_RANK


def _skip_reshape(node: oir.Node) -> bool:
    """Condition 3, where the tensor between has a high rank or the first one is read by this one only."""
    between = node.inputs[0]
    first = between.producer() if between is not None else None
    if between is None or first is None or first.op_type not in RESHAPING or first.domain != "":
        return False
    source = first.inputs[0]
    dims = _wanted(node, between, first.inputs[0])
    if source is None or dims is None or constant(source) is not None or len(between.shape or ()) <= MAX_RANK:
        return False
    emit = Emitter(node)
    emit.finish(emit.reshaped(source, dims, f"{node.outputs[0].name}_direct"))
    return True


def _wanted(node: oir.Node, between: oir.Value, source: oir.Value | None) -> list[sympy.Expr] | None:
    """The shape of ``node``'s output with one free dimension at most, as its target writes it; else None."""
    dims = dims_of(node.outputs[0])
    before = None if source is None else free_dims(source)
    middle = free_dims(between)
    target = constant(node.inputs[1]) if node.op_type == "Reshape" else None
    if dims is None or not before or not middle:
        return None
    if target is not None and len(target) == len(dims):
        unknown = next((i for i, d in enumerate(target) if d == -1), None)
        if unknown is None and dims and target[0] == 0:
            dims = [middle[0], *dims[1:]]
        elif unknown is not None:
            rest = math.prod((d for i, d in enumerate(dims) if i != unknown), start=sympy.Integer(1))
            dims[unknown] = sympy.cancel(math.prod(before, start=sympy.Integer(1)) / rest)
    elif dims and dims[0] == 1 and middle[0] == before[0]:
        dims = [before[0], *dims[1:]]
    return None if sum(not d.is_Integer for d in dims) > 1 or "unknown__" in str(dims) else dims


def _slab(node: oir.Node) -> bool:
    """Condition 2."""
    data, places, updates = node.inputs[:3]
    index = constant(places)
    dims = dims_of(data)
    if data is None or updates is None or index is None or dims is None or "reduction" in node.attributes:
        return False
    shape = [int(d) if d.is_Integer else 1 for d in dims]
    found = slab_of(index, shape)
    if found is None or dims_of(updates) is None:
        return False
    axis, start, stop = found
    emit = Emitter(node)
    name = node.outputs[0].name or "scattered"
    ends = [*(free_dims(data) or [])]
    ends[axis] = ends[axis] * 0 + (stop - start)
    parts = [emit.reshaped(updates, ends, f"{name}_part")]
    if start > 0:
        parts.insert(0, _cut(emit, data, axis, 0, start, f"{name}_before"))
    if stop < shape[axis]:
        parts.append(_cut(emit, data, axis, stop, shape[axis], f"{name}_behind"))
    emit.finish(parts[0] if len(parts) == 1 else emit.op("Concat", parts, f"{name}_whole", axis=axis))
    return True


def slab_of(index: np.ndarray, shape: list[int]) -> tuple[int, int, int] | None:
    """(axis, start, stop) when ``index`` (..., k), in order, is all of a tensor of ``shape`` between start and stop of
    one axis; None otherwise."""
    depth = index.shape[-1]
    flat = index.reshape(-1, depth)
    if not len(flat) or (flat < 0).any():
        return None
    low = flat.min(0)
    high = flat.max(0) + 1
    short = [axis for axis in range(depth) if low[axis] > 0 or high[axis] < shape[axis]]
    if len(short) > 1:
        return None
    sizes = (high - low).tolist()
    grid = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high)], indexing="ij"), -1)
    if int(np.prod(sizes)) != len(flat) or not np.array_equal(grid.reshape(-1, depth), flat):
        return None
    axis = short[0] if short else 0
    return axis, int(low[axis]), int(high[axis])


def _cut(emit: Emitter, data: oir.Value, axis: int, start: int, stop: int, name: str) -> oir.Value:
    bounds = [emit.constant(f"{name}_at", np.array([number], np.int64)) for number in (start, stop, axis)]
    return emit.op("Slice", [data, *bounds], name)
