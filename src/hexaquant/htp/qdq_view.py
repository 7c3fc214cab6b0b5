"""One view of float and QDQ graphs: what a value holds, in how many bits and which range, who computes and reads it.

In a QDQ graph the view looks through QuantizeLinear and DequantizeLinear, so one matcher serves both kinds; and what it
inserts gets an encoding where the graph has them, so one rewriting does, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, insert_before, replace_node, set_constant, sole_consumer
from hexaquant.ir.graph import constant

QUANTIZE = "QuantizeLinear"
DEQUANTIZE = "DequantizeLinear"
BitsOf = Callable[[oir.Node], int | None]
"""Activation bits in which an operator of a float graph computes; None in float16."""


@dataclass(frozen=True)
class Stored:
    """A constant and how it is stored. ``data``: integers where ``chain`` holds quantize nodes (the one next to the
    reader first), else floats. ``axis``: along which the scales go; None for one scale."""

    data: np.ndarray
    chain: tuple[oir.Node, ...]
    axis: int | None


class View:
    """Of ``graph``. ``bits_of``: of a float graph whose schemes are known; ``arch``: where it will run, 0 for any."""

    def __init__(self, graph: oir.Graph, bits_of: BitsOf | None = None, arch: int = 0) -> None:
        self.graph = graph
        self.arch = arch
        self._bits_of = bits_of

    @cached_property
    def is_qdq(self) -> bool:
        return any(node.op_type == DEQUANTIZE for node in self.graph)

    def root(self, value: oir.Value | None) -> oir.Value | None:
        """The value before its quantize nodes; of a stored constant what is stored."""
        while value is not None and (node := value.producer()) is not None and _is_quantizing(node):
            value = node.inputs[0]
        return value

    def producer(self, value: oir.Value | None, *op_types: str) -> oir.Node | None:
        """The operator (one of ``op_types``, where given) that computes ``value``."""
        root = self.root(value)
        node = None if root is None else root.producer()
        return node if node is not None and (not op_types or node.op_type in op_types) else None

    def readers(self, value: oir.Value) -> list[oir.Node]:
        """The operators that read ``value``."""
        found: list[oir.Node] = []
        for node in value.consumers():
            found += self.readers(node.outputs[0]) if _is_quantizing(node) else [node]
        return found

    def array(self, value: oir.Value | None) -> np.ndarray | None:
        """The numbers of a constant, dequantized (float64) where it is stored in integers of one scale."""
        if value is None:
            return None
        node = value.producer()
        if node is None or not _is_quantizing(node):
            return constant(value)
        if node.op_type == QUANTIZE:
            return self.array(node.inputs[0])
        stored = node.inputs[0]
        scale = constant(node.inputs[1])
        data = constant(stored)
        if data is None:
            return self.array(stored)
        zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        if scale is None or scale.size != 1:
            return None
        offset = 0.0 if zero is None else float(zero.reshape(-1)[0])
        return (data.astype(np.float64) - offset) * float(scale.reshape(-1)[0])

    def number(self, value: oir.Value | None) -> float | None:
        """The number in a constant of one element."""
        data = self.array(value)
        return float(data.reshape(-1)[0]) if data is not None and data.size == 1 else None

    def is_constant(self, value: oir.Value | None) -> bool:
        """Whether ``value`` is stored, not computed."""
        return constant(self.root(value)) is not None

    def encoding(self, value: oir.Value | None) -> tuple[oir.Value, oir.Value] | None:
        """(scale, zero point) of a value of one scale that the graph quantizes: itself or right after it."""
        node = None if value is None else value.producer()
        if node is None or node.op_type != DEQUANTIZE:
            readers = () if value is None else value.consumers()
            node = next((reader for reader in readers if reader.op_type == QUANTIZE), None)
        if node is None or len(node.inputs) < 3:
            return None
        scale = node.inputs[1]
        zero = node.inputs[2]
        if scale is None or zero is None or constant(scale) is None or constant(zero) is None:
            return None
        return (scale, zero) if scale.const_value is not None and scale.const_value.size == 1 else None

    def bits(self, value: oir.Value | None) -> int | None:
        """Of the encoding of ``value``; None where it has none."""
        encoding = self.encoding(value)
        dtype = None if encoding is None else encoding[1].dtype
        return None if dtype is None else int(dtype.bitwidth)

    def span(self, value: oir.Value | None) -> tuple[float, float] | None:
        """The real numbers at the ends of the encoding of ``value``; None where it has none."""
        encoding = self.encoding(value)
        if encoding is None:
            return None
        scale, zero = (constant(part) for part in encoding)
        if scale is None or zero is None or zero.dtype not in (np.uint8, np.int8, np.uint16, np.int16):
            return None
        step = float(scale.reshape(-1)[0])
        offset = int(zero.reshape(-1)[0])
        ends = np.iinfo(zero.dtype)
        return (ends.min - offset) * step, (ends.max - offset) * step

    def has_bits(self, node: oir.Node, *bits: int) -> bool:
        """Whether ``node`` computes in integers of ``bits``, or may: before a plan it may in any."""
        if self.is_qdq:
            return any(self.bits(value) in bits for value in node.inputs if not self.is_constant(value))
        return self._bits_of is None or self._bits_of(node) in bits

    def is_float(self, node: oir.Node) -> bool:
        """Whether ``node`` is known to compute in float16."""
        if self.is_qdq:
            return not any(
                self.encoding(value) for value in (*node.inputs, *node.outputs) if not self.is_constant(value)
            )
        return self._bits_of is not None and self._bits_of(node) is None

    def stored(self, value: oir.Value | None) -> Stored | None:
        """How the constant ``value`` is stored; None for what is computed or has blocks of scales."""
        chain: list[oir.Node] = []
        while value is not None and (node := value.producer()) is not None and _is_quantizing(node):
            chain.append(node)
            value = node.inputs[0]
        data = constant(value)
        if data is None or any("block_size" in node.attributes for node in chain):
            return None
        scale = constant(chain[0].inputs[1]) if chain else None
        has_axis = scale is not None and scale.size > 1
        axis = chain[0].attributes.get_int("axis", 1) % data.ndim if has_axis else None
        return Stored(data, tuple(chain), axis)

    def insert(
        self,
        node: oir.Node,
        op_type: str,
        inputs: Sequence[oir.Value | None],
        attributes: Mapping[str, Any],
        name: str,
        like: oir.Value | None,
        shape: Sequence[int | str | None],
    ) -> oir.Value:
        """Insert ``op_type`` before ``node``; what it computes has the type and, in a QDQ graph, the encoding of
        ``like``. Returns the value for readers."""
        value = insert_before(node, op_type, inputs, attributes, name)
        value.shape = oir.Shape(list(shape))
        value.type = None if like is None else like.type
        encoding = self.encoding(like)
        if encoding is None:
            return value
        for step in (QUANTIZE, DEQUANTIZE):
            last = value
            value = insert_before(node, step, [last, *encoding], {}, f"{name}_{step[0].lower()}")
            value.shape = last.shape
            value.type = encoding[1].type if step == QUANTIZE else None if like is None else like.type
        return value

    def operand(self, node: oir.Node, name: str, number: float) -> oir.Value:
        """A scalar constant for ``node``: in a QDQ graph stored with the bits of its operands, at the end of a grid."""
        data = next((value for value in node.inputs if not self.is_constant(value)), None)
        kind = self.encoding(data)
        if kind is None or kind[1].dtype is None:
            return add_constant(self.graph, name, np.asarray(number, np.float32))
        info = np.iinfo(kind[1].dtype.numpy())
        step = np.float32(abs(number) / (int(info.max) - int(info.min)) or 1.0)
        zero, held = (
            (info.min, info.max) if number > 0 else (info.max, info.min) if number < 0 else (info.min, info.min)
        )
        return self._dequantized(node, np.asarray(held, info.dtype), step, np.asarray(zero, info.dtype), None, name)

    def reshape_constant(
        self, node: oir.Node, value: oir.Value, change: Callable[[np.ndarray], np.ndarray], axis: int | None, name: str
    ) -> oir.Value | None:
        """The constant ``value`` with its elements rearranged by ``change``; ``axis``: that of its scales then.

        It keeps its name where only ``node`` reads it; else this is a copy. None where it cannot be done.
        """
        stored = self.stored(value)
        if stored is None or len(stored.chain) > 2:
            return None
        data = np.ascontiguousarray(change(stored.data))
        along = None if stored.axis is None else axis
        passed = [value, *(step.inputs[0] for step in stored.chain)]
        if all(sole_consumer(part) is not None for part in passed):
            return self._rearranged(value, stored, passed[-1], data, along)
        if not stored.chain:
            return add_constant(self.graph, name, data)
        last = stored.chain[0]
        scale = constant(last.inputs[1])
        zero = constant(last.inputs[2]) if len(last.inputs) > 2 else None
        if scale is None or (len(last.inputs) > 2 and zero is None) or len(stored.chain) > 1:
            return None
        return self._dequantized(node, data, scale, zero, along, name)

    def _rearranged(
        self, value: oir.Value, stored: Stored, source: oir.Value | None, data: np.ndarray, axis: int | None
    ) -> oir.Value:
        assert source is not None
        set_constant(source, data)
        for step in stored.chain:
            step.outputs[0].shape = oir.Shape(data.shape)
            if axis is not None:
                step.attributes["axis"] = oir.AttrInt64("axis", axis)
        return value

    def _dequantized(
        self,
        node: oir.Node,
        data: np.ndarray,
        scale: np.ndarray | np.float32,
        zero: np.ndarray | None,
        axis: int | None,
        name: str,
    ) -> oir.Value:
        parts = {"q": np.ascontiguousarray(data) if data.ndim else data, "scale": np.asarray(scale)}
        parts |= {} if zero is None else {"zero": zero}
        values = [add_constant(self.graph, f"{name}_{part}", array) for part, array in parts.items()]
        result = insert_before(node, DEQUANTIZE, values, {} if axis is None else {"axis": axis}, name)
        result.shape, result.type = oir.Shape(data.shape), oir.TensorType(oir.DataType.FLOAT)
        return result

    def replace(
        self,
        node: oir.Node,
        op_type: str,
        inputs: Sequence[oir.Value | None],
        attributes: Mapping[str, Any] | None = None,
    ) -> oir.Node:
        """Put ``op_type`` in the place of ``node``: same name, output and encoding."""
        return replace_node(node, op_type, inputs, attributes or {})

    def drop_unread(self) -> None:
        """Remove quantize nodes that nothing reads: the lowering takes none that stands alone."""
        for node in reversed(list(self.graph)):
            value = node.outputs[0]
            if _is_quantizing(node) and not value.uses() and not value.is_graph_output():
                self.graph.remove(node, safe=True)

    def integers(self, name: str, numbers: Sequence[int]) -> oir.Value:
        """A new vector of int64, for shapes and axes."""
        return add_constant(self.graph, name, np.array(numbers, np.int64))


def _is_quantizing(node: oir.Node) -> bool:
    return node.op_type in (QUANTIZE, DEQUANTIZE)
