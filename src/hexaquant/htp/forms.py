"""The form of an operator: what of it decides whether the target takes it. One row of the legality table a form.

"Conv 2d depthwise", "MatMul rank 3 constant right", "Softmax rank 4 last axis": the operator, then words for its rank
or spatial dimensions, its operands (constant or computed, broadcast), its axis and its mode. Which words matter was
found by probing many networks a form; networks of one form have one verdict.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as oir

from hexaquant.ir.edit import int_attribute, ints_attribute, string_attribute
from hexaquant.ir.graph import constant, shape_of

INTEGERS = (oir.DataType.INT64, oir.DataType.INT32, oir.DataType.UINT8, oir.DataType.INT8, oir.DataType.UINT32)

BINARY = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Mod", "PRelu")
COMPARE = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
AXIS = (
    "Softmax",
    "LogSoftmax",
    "Hardmax",
    "LpNormalization",
    "TopK",
    "ArgMax",
    "ArgMin",
    "Split",
    "LayerNormalization",
)
NORMALIZING = ("Softmax", "LogSoftmax", "LpNormalization", "LayerNormalization")
POOLS = ("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")


def form_of(node: oir.Node) -> str:
    """The form of ``node``: the key of its row in the legality table."""
    describe = _DESCRIBE.get(node.op_type, _plain)
    words = [_name(node), _type_word(node), *describe(node)]
    return " ".join(word for word in words if word)


def _name(node: oir.Node) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _type_word(node: oir.Node) -> str:
    """ "int" or "bool" when the first computed operand is no real number."""
    data = _data(node)
    if data is None or node.op_type in ("Cast", "Where"):
        return ""
    return _kind(data) if _kind(data) != "float" else ""


def _kind(value: oir.Value) -> str:
    if value.dtype in INTEGERS:
        return "int"
    return "bool" if value.dtype == oir.DataType.BOOL else "float"


def _data(node: oir.Node) -> oir.Value | None:
    """The first computed operand, else the first one."""
    given = [v for v in node.inputs if v is not None]
    return next((v for v in given if constant(v) is None), given[0] if given else None)


def _rank(value: oir.Value | None) -> int:
    shape = None if value is None else shape_of(value)
    return -1 if shape is None else len(shape)


def _rank_word(value: oir.Value | None) -> str:
    """ "rank 5"; nothing for lower ranks, which all have one verdict."""
    return "rank 5" if _rank(value) == 5 else ""


def _largest_rank(node: oir.Node) -> str:
    values = [v for v in (*node.inputs, *node.outputs) if v is not None]
    return _rank_word(max(values, key=_rank))


def _plain(node: oir.Node) -> list[str]:
    return [_rank_word(_data(node))]


def _spatial(node: oir.Node) -> str:
    return f"{_rank(node.inputs[0]) - 2}d"


def _convolution(node: oir.Node) -> list[str]:
    weight = node.inputs[1]
    group = int_attribute(node, "group", 1)
    shape = shape_of(weight) if weight is not None else None
    each = shape[1] if shape is not None and len(shape) > 1 else None
    kind = "" if group == 1 else "depthwise" if each == 1 else "grouped"
    small = "kernel 1" if shape is not None and all(d == 1 for d in shape[2:]) else ""
    dilated = "dilated" if any(d > 1 for d in ints_attribute(node, "dilations", [])) else ""
    stride = max(ints_attribute(node, "strides", []), default=1)
    long = "stride 3 and more" if stride > 2 else "stride 2" if stride == 2 else ""
    computed = "computed weight" if weight is not None and constant(weight) is None else ""
    return [_spatial(node), kind, small, dilated, long, computed]


def _pool(node: oir.Node) -> list[str]:
    dilated = "dilated" if any(d > 1 for d in ints_attribute(node, "dilations", [])) else ""
    indices = "with indices" if len(node.outputs) > 1 and node.outputs[1].name and node.outputs[1].uses() else ""
    return [_spatial(node), dilated, indices]


def _resize(node: oir.Node) -> list[str]:
    transform = string_attribute(node, "coordinate_transformation_mode", "half_pixel")
    return [_spatial(node), string_attribute(node, "mode", "nearest"), transform]


def _grid_sample(node: oir.Node) -> list[str]:
    return [_spatial(node), string_attribute(node, "mode", "linear"), string_attribute(node, "padding_mode", "zeros")]


def _product(node: oir.Node) -> list[str]:
    left = node.inputs[0]
    right = node.inputs[1]
    side = "constant left" if constant(left) is not None else "constant right" if constant(right) is not None else ""
    batched = "batched" if not side and _rank(node.outputs[0]) > 2 else ""
    matrix = "by a matrix" if batched and _rank(right) == 2 else batched
    if matrix == "batched" and not _same_batch(left, right):
        matrix = "batched broadcast"
    vector = "of a vector" if 1 in (_rank(left), _rank(right)) else ""
    return [_largest_rank(node), side, matrix, vector]


def _same_batch(left: oir.Value | None, right: oir.Value | None) -> bool:
    a, b = (() if value is None else shape_of(value) or () for value in (left, right))
    return a[:-2] == b[:-2]


def _gemm(node: oir.Node) -> list[str]:
    computed = "computed weight" if constant(node.inputs[1]) is None else ""
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    matrix = "matrix bias" if bias is not None and bias.ndim == 2 and bias.shape[0] > 1 else ""
    return [computed, "transposed input" if int_attribute(node, "transA", 0) else "", matrix]


def _binary(node: oir.Node) -> list[str]:
    shapes = [() if v is None else shape_of(v) or () for v in node.inputs]
    constants = [v for v in node.inputs if constant(v) is not None]
    if constants:
        return [_largest_rank(node), "scalar" if constants[0].const_value.size == 1 else "constant"]  # type: ignore
    return [_largest_rank(node), "" if all(s == shapes[0] for s in shapes) else "broadcast"]


def _clip(node: oir.Node) -> list[str]:
    """Whether zero lies outside of the bounds: a quantized range holds it always, so it cannot do the clipping."""
    low, high = (constant(v) if v is not None else None for v in (*node.inputs[1:3], None, None)[:2])
    beside = (low is not None and low.max() > 0) or (high is not None and high.min() < 0)
    return [_rank_word(node.inputs[0]), "without zero" if beside else ""]


def _along_axis(node: oir.Node) -> list[str]:
    rank = _rank(node.inputs[0])
    default = 0 if node.op_type in ("ArgMax", "ArgMin", "Split") else -1
    axis = int_attribute(node, "axis", default) % max(rank, 1)
    words = [_rank_word(node.inputs[0]), "last axis" if axis == rank - 1 else "another axis"]
    if node.op_type in NORMALIZING and _is_single(node.inputs[0], axis):
        words.append("of one element")
    if node.op_type == "LpNormalization":
        words.append(f"p {int_attribute(node, 'p', 2)}")
    return words


def _is_single(value: oir.Value | None, axis: int) -> bool:
    """Whether ``value`` has one index along ``axis``: then what normalizes along it computes a constant."""
    shape = None if value is None else shape_of(value)
    return shape is not None and len(shape) > axis and shape[axis] == 1


def _joined(node: oir.Node) -> list[str]:
    axis = int_attribute(node, "axis", 0) % max(_rank(node.outputs[0]), 1)
    fixed = "with a constant" if any(constant(v) is not None for v in node.inputs) else ""
    return [_rank_word(node.outputs[0]), "first axis" if axis == 0 else "", fixed]


def _reduction(node: oir.Node) -> list[str]:
    rank = _rank(node.inputs[0])
    given = constant(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else None
    axes = sorted(int(a) % max(rank, 1) for a in given.reshape(-1)) if given is not None else list(range(rank))
    where = "all axes" if len(axes) == rank else "last axes" if axes and axes[-1] == rank - 1 else "other axes"
    if rank == 5 and axes == [rank - 1]:
        where = "last axis"
    return [_rank_word(node.inputs[0]), where]


def _running_sum(node: oir.Node) -> list[str]:
    axis = constant(node.inputs[1])
    rank = _rank(node.inputs[0])
    last = axis is not None and int(axis.reshape(-1)[0]) % max(rank, 1) == rank - 1
    return [_rank_word(node.inputs[0]), "last axis" if last else "another axis"]


def _gather(node: oir.Node) -> list[str]:
    data = node.inputs[0]
    index = node.inputs[1]
    kind = "constant data" if constant(data) is not None else "constant index" if constant(index) is not None else ""
    return [_largest_rank(node), kind]


def _reshape(node: oir.Node) -> list[str]:
    return [_largest_rank(node)]


def _pad(node: oir.Node) -> list[str]:
    return [_rank_word(node.inputs[0]), string_attribute(node, "mode", "constant")]


def _cast(node: oir.Node) -> list[str]:
    source = node.inputs[0]
    return [f"{'' if source is None else _kind(source)} to {_kind(node.outputs[0])}", _rank_word(source)]


def _slice(node: oir.Node) -> list[str]:
    steps = constant(node.inputs[4]) if len(node.inputs) > 4 and node.inputs[4] is not None else None
    word = "" if steps is None or (steps == 1).all() else "backwards" if (steps < 0).any() else "with steps"
    return [_rank_word(node.inputs[0]), word]


def _where(node: oir.Node) -> list[str]:
    kinds = ["constant" if v is not None and constant(v) is not None else "computed" for v in node.inputs]
    return [_largest_rank(node), f"{kinds[0]} condition", "" if kinds[1:] == ["computed"] * 2 else "with a constant"]


def _space(node: oir.Node) -> list[str]:
    return [string_attribute(node, "mode", "DCR")]


_DESCRIBE: dict[str, Callable[[oir.Node], list[str]]] = {
    **dict.fromkeys(("Conv", "ConvTranspose"), _convolution),
    **dict.fromkeys(POOLS, _pool),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(COMPARE, _binary),
    **dict.fromkeys(("Sum", "Mean"), _binary),
    **dict.fromkeys(AXIS, _along_axis),
    **dict.fromkeys(("Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND"), _gather),
    "Clip": _clip,
    "Resize": _resize,
    "GridSample": _grid_sample,
    "MatMul": _product,
    "Einsum": _product,
    "Gemm": _gemm,
    "Concat": _joined,
    **{
        f"Reduce{name}": _reduction
        for name in ["Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"]
    },
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Expand": _reshape,
    "Pad": _pad,
    "Cast": _cast,
    "Slice": _slice,
    "Where": _where,
    "DepthToSpace": _space,
    "CumSum": _running_sum,
}
