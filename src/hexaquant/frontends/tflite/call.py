"""One operator of a TensorFlow Lite network as the rules see it: its inputs, options, and where to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from hexaquant.core.errors import UnsupportedOpError
from hexaquant.frontends.tflite.graph_writer import Complex, Found, GraphWriter
from hexaquant.frontends.tflite.model_file import Operator, Tensor
from hexaquant.frontends.tflite.tensors import Tensors
from hexaquant.frontends.tflite.variables import Variables

TO_NCHW = (0, 3, 1, 2)
TO_NHWC = (0, 2, 3, 1)


class Call:
    """``operator`` with the ``tensors`` of its subgraph; rules write with ``op`` and return the outputs."""

    def __init__(self, operator: Operator, tensors: Tensors, writer: GraphWriter, variables: Variables) -> None:
        self.operator = operator
        self.writer = writer
        self._variables = variables
        self.part = ""  # of complex inputs, the part that is computed now
        self._tensors = tensors

    def option(self, name: str, default: Any = 0) -> Any:
        """An option; ``default`` where the file states none."""
        return self.operator.options.get(name, default)

    def has(self, index: int) -> bool:
        """Whether input ``index`` is given."""
        return index < len(self.operator.inputs) and self.operator.inputs[index] != -1

    @property
    def count(self) -> int:
        """The number of inputs."""
        return len(self.operator.inputs)

    def tensor(self, index: int) -> Tensor:
        """Input ``index`` as in the file."""
        return self._tensors.tensor(self._index(index))

    def output(self, index: int = 0) -> Tensor:
        """Output ``index`` as in the file."""
        return self._tensors.tensor(self.operator.outputs[index])

    def found(self, index: int) -> Found:
        """Input ``index``, which may be complex."""
        return self._tensors.found(self._index(index))

    def input(self, index: int = 0) -> oir.Value:
        """Input ``index`` as a real tensor, dequantized."""
        found = self.found(index)
        if isinstance(found, Complex) and self.part:
            return found.real if self.part == "real" else found.imaginary
        if isinstance(found, Complex):
            raise self.refuse("computes with complex numbers, which only RFFT2D, REAL, IMAG and COMPLEX_ABS may here")
        return found

    def optional(self, index: int) -> oir.Value | None:
        """Input ``index``, or None where it is absent."""
        return self.input(index) if self.has(index) else None

    def array(self, index: int) -> np.ndarray | None:
        """The constant of input ``index`` as in the file (integers as they are); None where it is computed."""
        return self._tensors.array(self._index(index)) if self.has(index) else None

    def numbers(self, index: int) -> np.ndarray | None:
        """The constant of input ``index`` as the numbers that it stands for."""
        return self._tensors.numbers(self._index(index)) if self.has(index) else None

    def ints(self, index: int) -> list[int]:
        """The constant integers of input ``index``. Raises UnsupportedOpError where they are computed."""
        found = self.array(index)
        if found is None:
            raise self.refuse(f"computes its input '{self.tensor(index).name}', which must be a constant on the target")
        return [int(i) for i in found.reshape(-1)]

    def int64(self, index: int) -> oir.Value:
        """Input ``index`` as a tensor of int64, constant or computed."""
        found = self.array(index)
        if found is not None:
            return self.writer.constant(found, np.int64, self.tensor(index).name)
        return self.op("Cast", self.input(index), to=oir.DataType.INT64)

    def state(self, index: int) -> oir.Value:
        """The state tensor of input ``index`` as the run before left it."""
        return self._variables.state(self._index(index))

    def keep(self, index: int, value: oir.Value) -> None:
        """``value`` is what this run leaves in the state tensor of input ``index``."""
        self._variables.keep(self._index(index), value)

    def weight(self, index: int, perm: Sequence[int]) -> oir.Value:
        """The weights of input ``index`` with their axes in the order ``perm``, under the tensor's name."""
        return self._tensors.weight(self._index(index), tuple(perm))

    def shape(self, value: oir.Value) -> list[int | None]:
        """The dimensions of ``value``, None where they are not known. Raises UnsupportedOpError without a rank."""
        if value.shape is None:
            raise self.refuse("has an input of unknown rank; give the input's shape with --shape")
        return [d if isinstance(d, int) else None for d in value.shape]

    def size(self, value: oir.Value, axis: int) -> int:
        """Dimension ``axis`` of ``value``, which must be known."""
        found = self.shape(value)[axis]
        if found is None:
            raise self.refuse(f"needs to know dimension {axis} of '{value.name}'; give the input's shape with --shape")
        return found

    def op(self, op_type: str, *inputs: oir.Value | None, **attributes: Any) -> oir.Value:
        """The output of a new ONNX operator."""
        return self.writer.op(op_type, *inputs, **attributes)

    def const(self, array: Any, dtype: Any = np.float32) -> oir.Value:
        """A new constant."""
        return self.writer.constant(array, dtype)

    def nchw(self, value: oir.Value) -> oir.Value:
        """``value`` (N, H, W, C) with its channels first."""
        return self.op("Transpose", value, perm=list(TO_NCHW))

    def nhwc(self, value: oir.Value) -> oir.Value:
        """``value`` (N, C, H, W) with its channels last."""
        return self.op("Transpose", value, perm=list(TO_NHWC))

    def refuse(self, reason: str) -> UnsupportedOpError:
        """The error to raise: it names the operator and its output."""
        return self.writer.refuse(reason)

    def _index(self, index: int) -> int:
        if not self.has(index):
            raise self.refuse(f"lacks its input {index}; convert the model again")
        return self.operator.inputs[index]
