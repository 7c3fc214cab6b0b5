"""Writes the ONNX graph of a TensorFlow Lite network: its tensors as values, and operators one after another.

A quantized tensor is the float value that its operator computes, then QuantizeLinear and DequantizeLinear with the
file's scale and zero point; the readers get the dequantized one. A quantized constant is a DequantizeLinear of
integers. Shapes are inferred from the inputs on as the operators are written: each one may ask for those of its inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as oir

from hexaquant.core.errors import InputError, UnsupportedOpError
from hexaquant.frontends.tflite.model_file import Quantization, Tensor
from hexaquant.ir.edit import add_constant, unique_name
from hexaquant.ir.graph import ORIGIN_MODULE, ORIGIN_SOURCE
from hexaquant.ir.infer_shapes import infer_node
from hexaquant.ir.opset import IR_VERSION, OPSET
from hexaquant.ir.symbolic import Contents

QUANTIZED = frozenset({"int8", "uint8", "int16", "int4", "uint4", "uint16"})
"""Types whose tensors are numbers on a grid where they have a scale."""


@dataclass(frozen=True)
class Complex:
    """A complex tensor: two real ones."""

    real: oir.Value
    imaginary: oir.Value


Found = oir.Value | Complex


class GraphWriter:
    """The graph being written; ``origin`` is (operator, output tensor) of what is written now."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.graph = oir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name=source)
        self.model = oir.Model(self.graph, ir_version=IR_VERSION)
        self.origin = ("", "")
        self._taken: set[str] = set()
        self._named: set[oir.Value] = set()
        self._contents = Contents()

    def refuse(self, reason: str) -> UnsupportedOpError:
        """The error that names the operator and its output."""
        kind, output = self.origin
        return UnsupportedOpError(f"{self.source}: {kind} '{output}' {reason}")

    def free(self, base: str) -> str:
        """A name that no value has, made of ``base``; it counts as taken from now on."""
        name = unique_name(base, self._taken)
        self._taken.add(name)
        return name

    def constant(self, array: Any, dtype: Any = None, name: str = "") -> oir.Value:
        """A new initializer, by default named after the operator."""
        base = name or f"{self.origin[1]}_const"
        return add_constant(self.graph, self.free(base), np.asarray(array, dtype), set())

    def op(self, op_type: str, *inputs: oir.Value | None, **attributes: Any) -> oir.Value:
        """The output of a new operator."""
        return self.ops(op_type, inputs, 1, **attributes)[0]

    def ops(self, op_type: str, inputs: Sequence[oir.Value | None], count: int, **attributes: Any) -> list[oir.Value]:
        """The ``count`` outputs of a new operator."""
        kind, output = self.origin
        new = oir.node(op_type, inputs, attributes, num_outputs=count)
        for value in new.outputs:
            value.name = self.free(f"{output}_{op_type.lower()}")
        new.name = new.outputs[0].name
        new.metadata_props[ORIGIN_MODULE] = output
        new.metadata_props[ORIGIN_SOURCE] = kind
        self.graph.append(new)
        infer_node(new, self._contents)
        self._contents.evaluate(new)
        return list(new.outputs)

    def input(self, name: str, kind: str, dims: Sequence[int | str | None]) -> oir.Value:
        """A new graph input."""
        value = oir.Value(
            name=self.free(name), type=oir.TensorType(oir.DataType.from_numpy(np.dtype(kind))), shape=oir.Shape(dims)
        )
        self.graph.inputs.append(value)
        return value

    def rename(self, value: oir.Value, name: str) -> oir.Value:
        """``value`` under ``name``: itself where an operator just made it, else an Identity of it."""
        if value.producer() is None or value in self._named:
            value = self.op("Identity", value)
        value.name = self.free(name)
        self._named.add(value)
        return value

    def quantized(self, value: oir.Value, tensor: Tensor) -> tuple[oir.Value, oir.Value]:
        """(integers, dequantized) of ``value`` on the grid of ``tensor``."""
        scale, zero = self._grid(tensor)
        q = quantization_of(tensor)
        axis = {} if q.scale.size == 1 else {"axis": q.axis}
        integers = self.op("QuantizeLinear", value, scale, zero, **axis)
        return integers, self.op("DequantizeLinear", integers, scale, zero, **axis)

    def dequantized(self, integers: oir.Value, tensor: Tensor, axis: int = 0) -> oir.Value:
        """What ``integers`` stand for; ``axis`` counts the channels of scales that are many."""
        q = quantization_of(tensor)
        scale, zero = self._grid(tensor)
        if q.block:
            return self.op("DequantizeLinear", integers, scale, zero, axis=axis, block_size=q.block)
        return self.op("DequantizeLinear", integers, scale, zero, **({} if q.scale.size == 1 else {"axis": axis}))

    def _grid(self, tensor: Tensor) -> tuple[oir.Value, oir.Value]:
        q = quantization_of(tensor)
        if not (np.isfinite(q.scale).all() and (q.scale > 0).all()):
            raise InputError(f"{self.source}: tensor '{tensor.name}' has a scale that is no positive number")
        shape = () if q.scale.size == 1 else q.scale.shape
        dtype = np.int32 if tensor.kind == "int64" else integer_type(tensor.kind)
        scale = self.constant(q.scale.reshape(shape), np.float32, f"{tensor.name}_scale")
        return scale, self.constant(q.zero.reshape(shape).astype(dtype), None, f"{tensor.name}_zero_point")


def integer_type(kind: str) -> np.dtype[Any]:
    """numpy's type of ``kind``, ml_dtypes' for 4 bits."""
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, kind) if kind in ("int4", "uint4", "int2") else kind)


def quantization_of(tensor: Tensor) -> Quantization:
    assert tensor.quantization is not None
    return tensor.quantization


def is_quantized(tensor: Tensor) -> bool:
    """Whether the tensor's integers stand for other numbers."""
    return tensor.quantization is not None and tensor.kind in QUANTIZED
