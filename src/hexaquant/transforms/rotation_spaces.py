"""The vector spaces of a network's activations: which tensors must be rotated together, and what can absorb that.

A space is the channel axis of some tensors that additions and data movement tie together: a residual stream. It is
written by linear layers and ungrouped convolutions, embedding tables, constants and normalizations, and read by linear
layers, ungrouped convolutions and normalizations. Anything else that reads it (an activation function, a product of two
tensors, an output of the network) blocks it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as oir

from hexaquant.ir.edit import int_attribute, ints_attribute, private_constant, set_constant
from hexaquant.ir.graph import Graph, constant, shape_of
from hexaquant.transforms.channel_ids import Labels, on_axis, reshape_ids

Matrix = npt.NDArray[np.float64]
Place = tuple[int, int]
"""A space and the axis of a tensor, counted from the right (-1: last), that it lies on."""
NORMS = ("LayerNormalization", "RMSNormalization")


@dataclass(frozen=True)
class Port:
    """A constant with the space on ``axis``; of a layer that reads the space also its bias."""

    node: oir.Node
    value: oir.Value
    axis: int
    bias: oir.Value | None = None

    def data(self) -> Matrix:
        """The constant in float64, the space on its first axis."""
        return np.moveaxis(data_of(self.value), self.axis, 0)

    def turn(self, rotation: Matrix) -> None:
        """Rotate the axis that carries the space."""
        store(self.value, np.moveaxis(np.tensordot(rotation, self.data(), (1, 0)), 0, self.axis))


@dataclass(frozen=True)
class Norm:
    """A normalization over the channels, from one space to another."""

    node: oir.Node
    source: int
    result: int


@dataclass
class Space:
    """``blocked``: why it cannot be rotated."""

    size: int
    writers: list[Port] = field(default_factory=list)
    readers: list[Port] = field(default_factory=list)
    blocked: str = ""

    def absorb(self, other: Space) -> None:
        self.writers += other.writers
        self.readers += other.readers
        self.blocked = self.blocked or other.blocked


class Spaces:
    """All spaces of ``graph``, found in one walk; ``of`` maps a tensor's name to its place."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._labels = Labels()
        self._spaces: dict[int, Space] = {}
        self.norms: list[Norm] = []
        self._places: dict[str, Place] = {}
        for node in graph.nodes:
            rule = _block if node.domain else _RULES.get(node.op_type, _block)
            rule(self, node)
            for value in node.outputs:
                if value.is_graph_output():
                    self.block(value, f"'{value.name}' is an output of the network")
        self._merge()

    def _merge(self) -> None:
        roots = self._labels.roots()
        merged: dict[int, Space] = {}
        for label, space in self._spaces.items():
            root = int(roots[label])
            if root in merged:
                merged[root].absorb(space)
            else:
                merged[root] = space
        self._spaces = merged
        self._places = {name: (int(roots[label]), axis) for name, (label, axis) in self._places.items()}
        self.norms = [Norm(n.node, int(roots[n.source]), int(roots[n.result])) for n in self.norms]

    def __getitem__(self, number: int) -> Space:
        return self._spaces[number]

    def items(self) -> list[tuple[int, Space]]:
        """All spaces by number, in the order of the graph."""
        return sorted(self._spaces.items())

    def of(self, value: oir.Value | None) -> Place | None:
        return None if value is None else self._places.get(value.name or "")

    def place(self, value: oir.Value, place: Place) -> None:
        self._places[value.name or ""] = place

    def new(self, value: oir.Value, size: int, axis: int) -> int:
        """A new space on ``axis`` (from the right) of ``value``."""
        number = int(self._labels.fresh(1)[0])
        self._spaces[number] = Space(size)
        self.place(value, (number, axis))
        return number

    def join(self, a: int, b: int) -> None:
        self._labels.union(np.array([a]), np.array([b]))

    def block(self, value: oir.Value | None, why: str) -> None:
        """The space of ``value`` cannot be rotated, because ``why``."""
        place = self.of(value)
        if place is not None:
            space = self._spaces[place[0]]
            space.blocked = space.blocked or why


def data_of(value: oir.Value) -> Matrix:
    """The data of a constant in float64."""
    return np.asarray(constant(value), np.float64)


def store(value: oir.Value, data: Matrix) -> None:
    """Give a constant new data in its own type."""
    set_constant(value, data.astype(constant(value).dtype))  # type: ignore[union-attr]


def _block(spaces: Spaces, node: oir.Node) -> None:
    for value in node.inputs:
        spaces.block(value, f"{node.op_type} of {spaces.graph.origin(node)} acts on each channel")


def _move(spaces: Spaces, node: oir.Node) -> None:
    """Data movement and reductions that leave the channel axis whole."""
    place = spaces.of(node.inputs[0])
    before = _shape(node.inputs[0])
    after = _shape(node.outputs[0])
    if place is None:
        return
    axis = None if before is None or after is None else _moved_axis(node, place[1], before, after)
    if axis is None:
        _block(spaces, node)
        return
    for value in node.outputs:
        spaces.place(value, (place[0], axis))


def _moved_axis(node: oir.Node, axis: int, before: tuple, after: tuple) -> int | None:
    """The axis (from the right) of the output that is ``axis`` of the input, when it stays whole and in order."""
    rank = len(before)
    size = before[axis]
    if node.op_type == "Transpose":
        return ints_attribute(node, "perm", range(rank)[::-1]).index(rank + axis) - rank
    if not isinstance(size, int):
        return None
    if node.op_type in ("Slice", "Gather", "Identity", "Expand", "ReduceMean", "ReduceSum", "Split"):
        same = len(after) >= -axis and after[axis] == size
        return axis if same and (axis == -1 or len(before) == len(after)) and not _along(node, rank, axis) else None
    labels = reshape_ids(on_axis(np.arange(size), rank, axis), before, after)
    found = [i - len(after) for i, n in enumerate(labels.shape) if n == size] if labels is not None else []
    return found[0] if len(found) == 1 and labels.size == size else None  # type: ignore[union-attr]


def _along(node: oir.Node, rank: int, axis: int) -> bool:
    """Whether the operator works along ``axis``."""
    if node.op_type in ("Gather", "Split"):
        return int_attribute(node, "axis", 0) in (axis, rank + axis)
    if node.op_type.startswith("Reduce") or node.op_type == "Slice":
        index = 3 if node.op_type == "Slice" else 1
        axes = constant(node.inputs[index]) if len(node.inputs) > index else None
        return axes is None or any(int(a) in (axis, rank + axis) for a in axes.reshape(-1))
    return False


def _gather(spaces: Spaces, node: oir.Node) -> None:
    table = private_constant(node.inputs[0])
    if table is None or table.ndim != 2 or table.dtype.kind != "f" or int_attribute(node, "axis", 0) != 0:
        _move(spaces, node)
        return
    number = spaces.new(node.outputs[0], table.shape[1], -1)
    spaces[number].writers.append(Port(node, node.inputs[0], 1))  # type: ignore[arg-type]


def _add(spaces: Spaces, node: oir.Node) -> None:
    """Sums tie spaces together; a constant that varies along the channels is a writer."""
    first = next((p for p in map(spaces.of, node.inputs) if p is not None), None)
    if first is None:
        return
    number, axis = first
    for value in node.inputs:
        data = constant(value)
        place = spaces.of(value)
        if data is not None and (data.ndim < -axis or data.shape[axis] == 1):
            continue
        if place is not None and place[1] == axis and spaces[place[0]].size == spaces[number].size:
            spaces.join(number, place[0])
        elif data is not None and private_constant(value) is not None:
            spaces[number].writers.append(Port(node, value, data.ndim + axis))  # type: ignore[arg-type]
        else:
            spaces.block(node.inputs[0], f"'{value.name if value else ''}' added to it comes from elsewhere")
            spaces.block(node.inputs[1], f"'{value.name if value else ''}' added to it comes from elsewhere")
    spaces.place(node.outputs[0], first)


def _scale(spaces: Spaces, node: oir.Node) -> None:
    """A product with a number passes; any other acts on each channel."""
    for index in (0, 1):
        place = spaces.of(node.inputs[index])
        factor = constant(node.inputs[1 - index])
        if place is not None and factor is not None and factor.size == 1 and (index == 0 or node.op_type == "Mul"):
            spaces.place(node.outputs[0], place)
            return
    _block(spaces, node)


def _linear(spaces: Spaces, node: oir.Node) -> None:
    """Gemm, MatMul and ungrouped Conv with constants of their own."""
    weight = node.inputs[1]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    data = private_constant(weight)
    y = _shape(node.outputs[0])
    plain = int_attribute(node, "transA", 0) == 0 and int_attribute(node, "group", 1) == 1
    image = node.op_type == "Conv"
    if weight is None or data is None or y is None or not plain or (not image and data.ndim != 2):
        _block(spaces, node)
        return
    if bias is not None and private_constant(bias) is None:
        _block(spaces, node)
        return
    out_axis = 0 if image or int_attribute(node, "transB", 0) else 1
    place = spaces.of(node.inputs[0])
    axis = 1 - len(y) if image else -1
    if place is not None and place[1] != axis:
        _block(spaces, node)
    elif place is not None:
        spaces[place[0]].readers.append(Port(node, weight, 1 - out_axis, bias))
    number = spaces.new(node.outputs[0], data.shape[out_axis], axis)
    spaces[number].writers.append(Port(node, weight, out_axis))
    if bias is not None:
        spaces[number].writers.append(Port(node, bias, constant(bias).ndim - 1))  # type: ignore[union-attr]


def _norm(spaces: Spaces, node: oir.Node) -> None:
    place = spaces.of(node.inputs[0])
    shape = _shape(node.outputs[0])
    own = all(private_constant(v) is not None for v in node.inputs[1:] if v is not None)
    last = shape is not None and int_attribute(node, "axis", -1) in (-1, len(shape) - 1)
    if not own or not last or shape is None or not isinstance(shape[-1], int) or len(node.inputs) < 2:
        _block(spaces, node)
        return
    result = spaces.new(node.outputs[0], shape[-1], -1)
    if place is None or place[1] != -1:
        spaces.block(node.inputs[0], "it is normalized over another axis")
        spaces.block(node.outputs[0], f"the input of {spaces.graph.origin(node)} has no space")
    else:
        spaces.norms.append(Norm(node, place[0], result))


def _shape(value: oir.Value | None) -> tuple[int | str | None, ...] | None:
    return None if value is None else shape_of(value)


_RULES: dict[str, Callable[[Spaces, oir.Node], None]] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Identity"), _move),
    **dict.fromkeys(("Expand", "ReduceMean", "ReduceSum", "Split"), _move),
    **dict.fromkeys(("Gemm", "MatMul", "Conv"), _linear),
    **dict.fromkeys(NORMS, _norm),
    **dict.fromkeys(("Mul", "Div"), _scale),
    "Add": _add,
    "Gather": _gather,
}
