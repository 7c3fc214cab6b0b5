"""The layers of a DLC's graph as rows: types, tensors, encodings, number of parameters, multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hexaquant.qnn.records import GraphRecord, OpInfo, TensorInfo

BY_OUTPUT = ("Conv1d", "Conv2d", "Conv3d", "DepthWiseConv1d", "DepthWiseConv2d")
"""Weights (..., in / groups, out): every output element sums over all but the last dimension."""
BY_INPUT = ("TransposeConv1d", "TransposeConv2d", "TransposeConv3d")
"""Weights (..., in, out / groups): every input element is spread over all but the dimension of inputs."""


@dataclass(frozen=True)
class Layer:
    """One operator. ``macs`` None: not counted (only convolutions, fully connected layers and matrix products are).

    ``parameters``: elements of its constant inputs, weights and biases; a tensor counts where it is first used.
    """

    index: int
    name: str
    type: str
    inputs: tuple[TensorInfo, ...]
    constants: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    parameters: int
    macs: int | None
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def layers_of(graph: GraphRecord) -> list[Layer]:
    """The operators of ``graph`` in its order."""
    tensors = {t.name: t for t in (*graph.inputs, *graph.outputs, *graph.tensors)}
    counted: set[str] = set()
    rows = []
    for index, op in enumerate(graph.ops):
        used = [tensors[name] for name in op.inputs if name in tensors]
        constants = tuple(t for t in used if t.kind == "static")
        new = {t.name: math.prod(t.shape) for t in constants if t.name not in counted}
        counted |= set(new)
        rows.append(
            Layer(
                index,
                op.name,
                op.type,
                tuple(t for t in used if t.kind != "static"),
                constants,
                tuple(tensors[name] for name in op.outputs if name in tensors),
                sum(new.values()),
                macs_of(op, tensors),
                op.params,
            )
        )
    return rows


def macs_of(op: OpInfo, tensors: Mapping[str, TensorInfo]) -> int | None:
    """Multiply-accumulates of one execution of ``op``, None for operators that are not products."""
    shapes = [tensors[name].shape for name in (*op.inputs[:2], *op.outputs[:1]) if name in tensors]
    if len(shapes) != 3 or len(op.inputs) < 2:
        return None
    first, second, out = shapes
    if op.type in BY_OUTPUT:
        return math.prod(out) * math.prod(second[:-1])
    if op.type in BY_INPUT:
        return math.prod(first) * math.prod(second[:-2]) * second[-1]
    if op.type == "FullyConnected":
        return math.prod(out) * second[-1]
    if op.type == "MatMul" and first:
        return math.prod(out) * first[-2 if op.params.get("transpose_in0") else -1]
    return None
