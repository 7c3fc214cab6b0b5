"""How a Transpose passes through an operator: ``op(transpose(x, P), ...) = transpose(op'(x, ...), Q)``.

``y = transpose(x, P)`` means that axis i of y is axis P[i] of x. Legal, each numerically an identity, when

1. elementwise operators: inputs are of the output's rank and layout P, or constants (their axes are permuted), or
   constants of one element;
2. Concat, Split, Softmax, LogSoftmax, ArgMax: axis a becomes P[a];
3. Slice, Pad, Tile, Resize, Reduce*, Squeeze, Unsqueeze: the axes, pads, repeats, scales or sizes are constants and are
   permuted likewise; where axes vanish or appear Q is P over the axes that are left;
4. QuantizeLinear and DequantizeLinear: one scale for the tensor.

Everything else (Reshape, MatMul, Conv ...) declines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import int_attribute, string_attribute
from hexaquant.ir.graph import constant

Perm = tuple[int, ...]

UNARY = frozenset(
    [
        "Relu",
        "Clip",
        "Sigmoid",
        "Tanh",
        "Erf",
        "Exp",
        "Log",
        "Sqrt",
        "Neg",
        "Abs",
        "Cast",
        "Identity",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Celu",
        "HardSigmoid",
        "HardSwish",
        "Softplus",
        "Softsign",
        "Mish",
        "Gelu",
        "Swish",
        "ThresholdedRelu",
        "Reciprocal",
        "Floor",
        "Ceil",
        "Round",
        "Sign",
        "Sin",
        "Cos",
        "Not",
    ]
)
"""Elementwise in input 0; other inputs (Clip's limits) are scalars."""

BROADCAST = frozenset(
    [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Max",
        "Min",
        "Sum",
        "Mean",
        "PRelu",
        "Where",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "And",
        "Or",
        "Xor",
    ]
)


@dataclass(frozen=True)
class Rewrite:
    """What becomes of an operator whose data inputs are given before their Transpose.

    ``data``: positions of inputs that lose the Transpose; ``constants``: new arrays by position; ``attributes``:
    changed integer attributes; ``out``: the permutation of the outputs afterwards.
    """

    data: tuple[int, ...]
    out: Perm
    constants: dict[int, np.ndarray] = field(default_factory=dict)
    attributes: dict[str, int] = field(default_factory=dict)


def rewrite_of(node: oir.Node, perm: Perm) -> Rewrite | None:
    """How ``node`` computes from inputs before Transpose ``perm``; None when it cannot."""
    if node.domain not in ("", "com.microsoft") or any(v is None for v in node.inputs[:1]):
        return None
    if node.domain and node.op_type not in ("Gelu", "FastGelu", "QuickGelu"):
        return None
    if node.op_type in UNARY or node.domain:
        return Rewrite((0,), perm) if len(node.inputs) == 1 or node.op_type == "Clip" else None
    if node.op_type in BROADCAST:
        return _broadcast(node, perm)
    if node.op_type.startswith("Reduce"):
        return _reduce(node, perm)
    rule = RULES.get(node.op_type)
    return None if rule is None else rule(node, perm)


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes ``perm``."""
    return tuple(int(i) for i in np.argsort(perm))


def permuted(values: Sequence[int] | np.ndarray, perm: Perm) -> np.ndarray:
    """Numbers by axis of y as numbers by axis of x."""
    return np.asarray(values)[list(inverse(perm))]


def _broadcast(node: oir.Node, perm: Perm) -> Rewrite | None:
    data: list[int] = []
    constants: dict[int, np.ndarray] = {}
    for index, value in enumerate(node.inputs):
        array = constant(value)
        if value is None or (array is None and (value.shape is None or len(value.shape) != len(perm))):
            return None
        if array is None:
            data.append(index)
        elif array.size > 1:
            if array.ndim > len(perm):
                return None
            full = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
            constants[index] = np.transpose(full, inverse(perm))
        elif array.ndim > len(perm):
            return None
    return Rewrite(tuple(data), perm, constants)


def _axis(node: oir.Node, perm: Perm, default: int) -> dict[str, int]:
    return {"axis": perm[int_attribute(node, "axis", default) % len(perm)]}


def _concat(node: oir.Node, perm: Perm) -> Rewrite | None:
    constants = {}
    data = []
    for index, value in enumerate(node.inputs):
        array = constant(value)
        if array is None:
            data.append(index)
        else:
            constants[index] = np.transpose(array, inverse(perm))
    return Rewrite(tuple(data), perm, constants, _axis(node, perm, 0))


def _split(node: oir.Node, perm: Perm) -> Rewrite | None:
    return Rewrite((0,), perm, {}, _axis(node, perm, 0))


def _softmax(node: oir.Node, perm: Perm) -> Rewrite | None:
    return Rewrite((0,), perm, {}, _axis(node, perm, -1))


def _arg(node: oir.Node, perm: Perm) -> Rewrite | None:
    axis = int_attribute(node, "axis", 0) % len(perm)
    out = perm if int_attribute(node, "keepdims", 1) else _without(perm, [axis])
    return Rewrite((0,), out, {}, {"axis": perm[axis]})


def _reduce(node: oir.Node, perm: Perm) -> Rewrite | None:
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None:
        return None
    listed = [int(a) % len(perm) for a in axes.reshape(-1)]
    out = perm if int_attribute(node, "keepdims", 1) else _without(perm, listed)
    mapped = np.array(sorted(perm[a] for a in listed), np.int64)
    return Rewrite((0,), out, {1: mapped}) if listed else None


def _squeeze(node: oir.Node, perm: Perm) -> Rewrite | None:
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None:
        return None
    listed = [int(a) % len(perm) for a in axes.reshape(-1)]
    return Rewrite((0,), _without(perm, listed), {1: np.array(sorted(perm[a] for a in listed), np.int64)})


def _unsqueeze(node: oir.Node, perm: Perm) -> Rewrite | None:
    """The new axes stay where they are; the others keep x's order around them."""
    axes = constant(node.inputs[1])
    if axes is None:
        return None
    rank = len(perm) + axes.size
    new = {int(a) % rank for a in axes.reshape(-1)}
    rest = [i for i in range(rank) if i not in new]
    old = iter(perm)
    return Rewrite((0,), tuple(i if i in new else rest[next(old)] for i in range(rank)))


def _without(perm: Perm, gone: Sequence[int]) -> Perm:
    """``perm`` over the axes that are left when axes ``gone`` of y vanish."""
    kept = [perm[i] for i in range(len(perm)) if i not in set(gone)]
    order = sorted(kept)
    return tuple(order.index(axis) for axis in kept)


def _slice(node: oir.Node, perm: Perm) -> Rewrite | None:
    starts = constant(node.inputs[1])
    axes = constant(node.inputs[3]) if len(node.inputs) > 3 else None
    if starts is None or (len(node.inputs) > 3 and node.inputs[3] is not None and axes is None):
        return None
    listed = list(range(starts.size)) if axes is None else [int(a) % len(perm) for a in axes.reshape(-1)]
    return Rewrite((0,), perm, {3: np.array([perm[a] for a in listed], np.int64)})


def _pad(node: oir.Node, perm: Perm) -> Rewrite | None:
    pads = constant(node.inputs[1])
    if pads is None or (len(node.inputs) > 3 and node.inputs[3] is not None):
        return None
    halves = pads.reshape(2, -1)
    return Rewrite((0,), perm, {1: np.concatenate([permuted(half, perm) for half in halves])})


def _tile(node: oir.Node, perm: Perm) -> Rewrite | None:
    repeats = constant(node.inputs[1])
    return None if repeats is None else Rewrite((0,), perm, {1: permuted(repeats, perm)})


def _resize(node: oir.Node, perm: Perm) -> Rewrite | None:
    mode = string_attribute(node, "coordinate_transformation_mode", "half_pixel")
    if "axes" in node.attributes or mode == "tf_crop_and_resize":
        return None
    constants = {}
    for index in (2, 3):
        value = node.inputs[index] if len(node.inputs) > index else None
        array = constant(value)
        if value is not None and array is None:
            return None
        if array is not None and array.size:
            constants[index] = permuted(array, perm)
    return Rewrite((0,), perm, constants)


def _quantize(node: oir.Node, perm: Perm) -> Rewrite | None:
    scale = constant(node.inputs[1])
    return Rewrite((0,), perm) if scale is not None and scale.size == 1 else None


RULES: dict[str, Callable[[oir.Node, Perm], Rewrite | None]] = {
    "Concat": _concat,
    "Split": _split,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "ArgMax": _arg,
    "ArgMin": _arg,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Pad": _pad,
    "Tile": _tile,
    "Resize": _resize,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _quantize,
}
