"""The tensors of a subgraph while it is written: which ONNX value each one is, and which are constants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as oir

from hexaquant.frontends.tflite.graph_writer import Complex, Found, GraphWriter, is_quantized, quantization_of
from hexaquant.frontends.tflite.model_file import Subgraph, Tensor
from hexaquant.ir.passes.dequantized import dequantized

INT32 = np.iinfo(np.int32)


class Tensors:
    """Values by tensor index. Constants become initializers when they are first read, once for each order of axes."""

    def __init__(self, subgraph: Subgraph, writer: GraphWriter) -> None:
        self._subgraph = subgraph
        self._writer = writer
        self._found: dict[int, Found] = {}
        self._folded: dict[int, np.ndarray] = {}
        self._weights: dict[tuple[int, tuple[int, ...]], oir.Value] = {}
        self._integers: dict[int, oir.Value] = {}

    def tensor(self, index: int) -> Tensor:
        return self._subgraph.tensors[index]

    def name(self, index: int) -> str:
        """The tensor's name without TensorFlow's ":0"."""
        return self.tensor(index).name.removesuffix(":0") or f"tensor_{index}"

    def array(self, index: int) -> np.ndarray | None:
        """The constant as in the file, or as it was folded."""
        folded = self._folded.get(index)
        return self.tensor(index).data if folded is None else folded

    def numbers(self, index: int) -> np.ndarray | None:
        """The numbers that the constant stands for; None where it is computed."""
        array = self.array(index)
        q = self.tensor(index).quantization
        if array is None or q is None or array.dtype.kind == "f" or index in self._folded:
            return array
        return dequantized(array, q.scale, q.zero, q.axis, q.block)

    def fold(self, index: int, array: np.ndarray) -> None:
        """The output ``index`` of an operator is the constant ``array``."""
        self._folded[index] = array

    def found(self, index: int) -> Found:
        """The value of a tensor, dequantized."""
        if index not in self._found:
            array = self.array(index)
            if array is None:
                raise self._writer.refuse(f"reads tensor '{self.tensor(index).name}', which nothing computes")
            self._found[index] = self.weight(index, tuple(range(array.ndim)))
        return self._found[index]

    def weight(self, index: int, perm: tuple[int, ...]) -> oir.Value:
        """The constant (or computed) tensor with its axes in the order ``perm``."""
        array = self.array(index)
        same = perm == tuple(range(len(perm)))
        if array is None or array.ndim != len(perm):
            found = self.found(index)
            if isinstance(found, Complex) or (found.shape is not None and len(found.shape) != len(perm)):
                raise self._writer.refuse(f"has weights '{self.name(index)}' of an unexpected shape")
            return found if same else self._writer.op("Transpose", found, perm=list(perm))
        key = (index, perm)
        if key not in self._weights:
            self._weights[key] = self._constant(index, np.transpose(array, perm), perm)
        return self._weights[key]

    def _constant(self, index: int, array: np.ndarray, perm: Sequence[int]) -> oir.Value:
        tensor = self.tensor(index)
        name = self.name(index)
        q = tensor.quantization
        if q is None or array.dtype.kind in "fcb" or index in self._folded:
            return self._writer.constant(array, None, name)
        narrow = INT32.min <= int(array.min(initial=0)) and int(array.max(initial=0)) <= INT32.max
        if tensor.kind == "int64" and not narrow:
            numbers = dequantized(array, q.scale, q.zero, perm.index(q.axis))
            return self._writer.constant(numbers, np.float32, name)
        integers = array.astype(np.int32) if tensor.kind == "int64" else array
        if tensor.kind not in ("int32", "int64") and not is_quantized(tensor):
            return self._writer.constant(array, None, name)
        stored = self._writer.constant(integers, None, f"{name}_q")
        axis = perm.index(q.axis) if q.axis < len(perm) else 0
        return self._writer.rename(self._writer.dequantized(stored, tensor, axis), name)

    def put(self, index: int, found: Found) -> None:
        """``found`` is the tensor that an operator computed: it gets its name and its grid."""
        tensor = self.tensor(index)
        name = self.name(index)
        ends = index in self._subgraph.outputs
        if isinstance(found, Complex) or not is_quantized(tensor):
            self._found[index] = found if isinstance(found, Complex) else self._writer.rename(found, name)
            return
        self.put_on_grid(index, self._writer.rename(found, f"{name}_float" if ends else name))

    def put_on_grid(self, index: int, value: oir.Value) -> None:
        """``value`` quantized with the grid of tensor ``index``."""
        name = self.name(index)
        ends = index in self._subgraph.outputs
        integers, numbers = self._writer.quantized(value, self.tensor(index))
        self._integers[index] = self._writer.rename(integers, name if ends else f"{name}_q")
        self._found[index] = self._writer.rename(numbers, f"{name}_dq")

    def on_grid(self, index: int, value: oir.Value) -> oir.Value:
        """``value`` as integers where tensor ``index`` is quantized, else as it is."""
        tensor = self.tensor(index)
        return self._writer.quantized(value, tensor)[0] if is_quantized(tensor) else value

    def share(self, index: int, found: Found) -> None:
        """Tensor ``index`` is ``found``, which exists."""
        self._found[index] = found

    def put_input(self, index: int, value: oir.Value) -> None:
        """``value`` is an input of the network, integers where the tensor is quantized."""
        tensor = self.tensor(index)
        if is_quantized(tensor):
            self._integers[index] = value
            q = quantization_of(tensor)
            value = self._writer.rename(self._writer.dequantized(value, tensor, q.axis), f"{self.name(index)}_dq")
        self._found[index] = value

    def result(self, index: int) -> oir.Value:
        """The value that the network returns for tensor ``index``: integers where it is quantized."""
        integers = self._integers.get(index)
        found = self.found(index) if integers is None else integers
        if isinstance(found, Complex):
            raise self._writer.refuse("returns complex numbers; return their real and imaginary parts")
        return found
