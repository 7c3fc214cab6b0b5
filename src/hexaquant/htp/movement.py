"""Faults of data movement and running sums; ``find`` and ``mend`` as in chains.py."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from hexaquant.htp.kernels import CLIPPING_ACTIVATIONS
from hexaquant.htp.qdq_view import View
from hexaquant.ir.edit import int_attribute, string_attribute
from hexaquant.ir.graph import constant, shape_of


def find_squares(view: View, node: oir.Node) -> str:
    """A Reshape of a fully connected layer's F outputs to [., ., ., F, F], also over activations and reshapes."""
    shape, wanted = (None if v is None else shape_of(v) for v in (node.inputs[0], node.outputs[0]))
    if shape is None or wanted is None or len(wanted) != 5 or not wanted[-1] == wanted[-2] == shape[-1]:
        return ""
    before = view.producer(node.inputs[0])
    while before is not None and before.op_type in (*CLIPPING_ACTIVATIONS, "Reshape"):
        before = view.producer(before.inputs[0])
    if before is None or before.op_type not in ("Gemm", "MatMul") or not view.is_constant(before.inputs[1]):
        return ""
    size = shape_of(before.outputs[0])
    if not size or size[-1] != shape[-1]:
        return ""
    return f"cuts what '{before.name}' ({before.op_type}) computes into squares"


def flatten_first(view: View, node: oir.Node) -> bool:
    """A flat row between keeps the order."""
    source, output = node.inputs[0], node.outputs[0]
    dims = list(shape_of(output) or ())
    unknown = [axis for axis, dim in enumerate(dims) if not isinstance(dim, int)]
    if source is None or len(unknown) > 1:
        return False
    name = f"{output.name or 'reshape'}_row"
    size = None if unknown else math.prod(int(str(dim)) for dim in dims)
    row = view.insert(node, "Reshape", [source, view.integers(f"{name}_shape", [1, -1])], {}, name, source, [1, size])
    sizes = [dim if isinstance(dim, int) else -1 for dim in dims]
    node.replace_input_with(0, row)
    node.replace_input_with(1, view.integers(f"{name}_back", sizes))
    return True


REGROUPING = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


def find_turned_square(view: View, node: oir.Node) -> str:
    """A Transpose of [F, 1, F] or [1, F, 1, F] to [..., F, F] that swaps the F, and a Reshape of what it gives."""
    shape, wanted = (None if v is None else shape_of(v) for v in (node.inputs[0], node.outputs[0]))
    if shape is None or wanted is None or len(shape) not in (3, 4) or not isinstance(shape[-1], int):
        return ""
    size, front = shape[-1], [1] * (len(shape) - 2)
    if size == 1 or list(shape) != [*front[1:], size, 1, size] or list(wanted) != [*front, size, size]:
        return ""
    order = node.attributes.get_ints("perm", range(len(shape))[::-1])
    if order[-1] != len(shape) - 3 or not any(reader.op_type in REGROUPING for reader in view.readers(node.outputs[0])):
        return ""
    return f"turns a square of {size} with a unit axis between, and its result is reshaped"


def transpose_matrix(view: View, node: oir.Node) -> bool:
    """Without the unit axes it is the transposition of a matrix."""
    source, dims = node.inputs[0], [int(str(dim)) for dim in shape_of(node.outputs[0]) or ()]
    name, square = node.outputs[0].name or "transpose", dims[-2:]
    rows = view.integers(f"{name}_matrix_shape", square)
    matrix = view.insert(node, "Reshape", [source, rows], {}, f"{name}_matrix", source, square)
    turned = view.insert(node, "Transpose", [matrix], {"perm": [1, 0]}, f"{name}_turned", source, square)
    view.replace(node, "Reshape", [turned, view.integers(f"{name}_shape", dims)])
    return True


WHOLE = {"GlobalMaxPool": "ReduceMax", "GlobalAveragePool": "ReduceMean"}
"""Pooling of everything -> the reduction that computes the same."""


def find_number_of_a_pool(view: View, node: oir.Node) -> str:
    """A Reshape to five dimensions, in integers, of the one number that a pooling computes, also over reshapes."""
    wanted = shape_of(node.outputs[0])
    if wanted is None or len(wanted) != 5 or any(dim != 1 for dim in wanted) or not view.has_bits(node, 8, 16):
        return ""
    before = _pool_before(view, node)
    return "" if before is None else f"gives the one number of '{before.name}' ({before.op_type}) five dimensions"


def _pool_before(view: View, node: oir.Node) -> oir.Node | None:
    before = view.producer(node.inputs[0])
    while before is not None and before.op_type == "Reshape":
        before = view.producer(before.inputs[0])
    return before if before is not None and before.op_type.endswith("Pool") else None


def pool_as_reduction(view: View, node: oir.Node) -> bool:
    """Of poolings over the whole input."""
    pool = _pool_before(view, node)
    shape = None if pool is None or pool.inputs[0] is None else shape_of(pool.inputs[0])
    if pool is None or pool.op_type not in WHOLE or shape is None:
        return False
    axes = view.integers(f"{pool.outputs[0].name or 'pool'}_axes", list(range(2, len(shape))))
    view.replace(pool, WHOLE[pool.op_type], [pool.inputs[0], axes], {"keepdims": 1})
    return True


def find_turned_sum(view: View, node: oir.Node) -> str:
    axis, shape = _sum_axis(node)
    if axis is None or axis == len(shape) - 1 or shape[axis] == 1 or not view.has_bits(node, 8):
        return ""
    return "sums along another axis than the last one"


def _sum_axis(node: oir.Node) -> tuple[int | None, tuple[int | str | None, ...]]:
    """(axis, shape) of a CumSum; no axis where it or the rank is not known."""
    data, given = node.inputs[0], constant(node.inputs[1])
    shape = None if data is None else shape_of(data)
    if shape is None or given is None or given.size != 1:
        return None, ()
    return int(given.reshape(-1)[0]) % len(shape), shape


def transpose_around(view: View, node: oir.Node) -> bool:
    """The axis and the last one change places, and back."""
    axis, shape = _sum_axis(node)
    source, output = node.inputs[0], node.outputs[0]
    if axis is None:
        return False
    order = list(range(len(shape)))
    order[axis], order[-1] = order[-1], order[axis]
    name, dims, attributes = output.name or "running_sum", [shape[index] for index in order], dict(node.attributes)
    last = view.integers(f"{name}_axis", [len(shape) - 1])
    turned = view.insert(node, "Transpose", [source], {"perm": order}, f"{name}_turned", source, dims)
    total = view.insert(node, "CumSum", [turned, last], attributes, f"{name}_sum", output, dims)
    view.replace(node, "Transpose", [total], {"perm": order})
    return True


def find_partial_sum(view: View, node: oir.Node) -> str:
    kinds = [name for name in ("exclusive", "reverse") if int_attribute(node, name, 0)]
    return f"is a running sum that is {' and '.join(kinds)}" if kinds else ""


def shift_and_turn(view: View, node: oir.Node) -> bool:
    """Reverse: the elements are gathered in the other order before and after. Exclusive: a zero comes in front, and the
    last element goes."""
    axis, shape = _sum_axis(node)
    source, output = node.inputs[0], node.outputs[0]
    size = None if axis is None else shape[axis]
    if axis is None or source is None or not isinstance(size, int):
        return False
    name, kinds = output.name or "running_sum", {k: int_attribute(node, k, 0) for k in ("exclusive", "reverse")}
    backwards, index = view.integers(f"{name}_backwards", list(range(size))[::-1]), node.inputs[1]
    value = source
    if kinds["reverse"]:
        value = view.insert(node, "Gather", [value, backwards], {"axis": axis}, f"{name}_turned", source, shape)
    if kinds["exclusive"]:
        cut = [
            view.integers(f"{name}_{part}", [number]) for part, number in (("from", 0), ("to", size - 1), ("on", axis))
        ]
        dims = [size - 1 if i == axis else dim for i, dim in enumerate(shape)]
        value = view.insert(node, "Slice", [value, *cut], {}, f"{name}_cut", source, dims)
        pads = [int(i == axis) for i in range(len(shape))] + [0] * len(shape)
        value = view.insert(
            node, "Pad", [value, view.integers(f"{name}_pads", pads)], {}, f"{name}_shifted", source, shape
        )
    if not kinds["reverse"]:
        view.replace(node, "CumSum", [value, index])
        return True
    total = view.insert(node, "CumSum", [value, index], {}, f"{name}_sum", output, shape)
    view.replace(node, "Gather", [total, backwards], {"axis": axis})
    return True


def find_space_encoding(view: View, node: oir.Node) -> str:
    """DepthToSpace or SpaceToDepth whose output has another encoding than its input."""
    before, after = view.encoding(node.inputs[0]), view.encoding(node.outputs[0])
    if before is None or after is None:
        return ""
    same = all(np.array_equal(constant(a), constant(b)) for a, b in zip(before, after))  # type: ignore[arg-type]
    return "" if same else "has another encoding at its output than at its input"


def find_float_edge_pad(view: View, node: oir.Node) -> str:
    """A Pad of a float tensor with the edge's values."""
    if string_attribute(node, "mode", "constant") != "edge" or not view.is_float(node):
        return ""
    pads = constant(node.inputs[1])
    return "" if pads is not None and not pads.any() else "pads a float tensor with its edge"


def gather_edges(view: View, node: oir.Node) -> bool:
    """Indices that repeat the first and the last position say the same. Pads must be constant, for all axes, and not
    negative, and the shape known."""
    pads = _edge_pads(node)
    value, name = node.inputs[0], node.outputs[0].name or "pad"
    if not pads or value is None:
        return False
    dims = [dim for dim in shape_of(value) or () if isinstance(dim, int)]
    axes = [axis for axis, (before, after) in enumerate(pads) if before or after]
    for axis in axes:
        before, after = pads[axis]
        positions = np.clip(np.arange(-before, dims[axis] + after), 0, dims[axis] - 1)
        index, dims[axis] = view.integers(f"{name}_edge{axis}", positions.tolist()), len(positions)
        if axis == axes[-1]:
            view.replace(node, "Gather", [value, index], {"axis": axis})
        else:
            value = view.insert(node, "Gather", [value, index], {"axis": axis}, f"{name}_axis{axis}", value, dims)
    return True


def _edge_pads(node: oir.Node) -> list[tuple[int, int]]:
    """(before, after) by axis; empty where a condition does not hold."""
    source, data = node.inputs[0], constant(node.inputs[1])
    shape = None if source is None else shape_of(source)
    has_axes = len(node.inputs) > 3 and node.inputs[3] is not None
    if shape is None or data is None or has_axes or (data < 0).any() or not all(isinstance(dim, int) for dim in shape):
        return []
    before, after = data.reshape(2, -1).tolist()
    return list(zip(before, after))
