"""Gives a QDQ graph native integer inputs and outputs.

A QDQ ONNX file has float inputs ``x -> Q -> DQ -> ...`` and float outputs ``... -> Q -> DQ -> y``. Lowered as it
is, the NPU would quantize and dequantize at its border in float. Here the first QuantizeLinear and the last
DequantizeLinear are dropped: input ``x`` and output ``y`` keep their names and become uint8, int8, uint16 or
int16, with the encodings that the dropped nodes had. Float inputs and outputs without such nodes stay.

Where the caller wants floats at the border (``float_io``), the nodes stay and the NPU converts.

An integer input of 64 bits (token ids) becomes int32, which is what the NPU takes, followed by a Cast for the
nodes that want int64.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as oir


@dataclass(frozen=True)
class NativeTensor:
    """An input or output: its integer ``dtype`` (ONNX name) and encoding; ``scale`` None for unquantized ones.

    ``lowered``: its name in DLCs and context binaries, where it differs from ``name``.
    """

    name: str
    dtype: str
    scale: float | None = None
    zero_point: int = 0
    lowered: str = ""


@dataclass(frozen=True)
class NativeIo:
    """What the inputs and outputs of a graph became, in the ONNX file's order (a DLC does not keep it)."""

    inputs: tuple[NativeTensor, ...]
    outputs: tuple[NativeTensor, ...]

    def with_lowered_names(self, model: oir.Model) -> NativeIo:
        """Itself with the names that the inputs and outputs of ``model`` have now."""

        def named(tensors: tuple[NativeTensor, ...], values: Sequence[oir.Value]) -> tuple[NativeTensor, ...]:
            return tuple(replace(tensor, lowered=value.name or "") for tensor, value in zip(tensors, values))

        return NativeIo(named(self.inputs, model.graph.inputs), named(self.outputs, model.graph.outputs))

    def names(self) -> dict[str, list[list[str]]]:
        """For the manifest (sections.lower.io): [name, lowered name] of each input and output, in order."""
        return {
            "inputs": [[tensor.name, tensor.lowered] for tensor in self.inputs],
            "outputs": [[tensor.name, tensor.lowered] for tensor in self.outputs],
        }


def to_native_io(model: oir.Model, float_io: bool | Collection[str] = False) -> NativeIo:
    """Rewrite ``model`` in place (see above). ``float_io``: names of what stays float, True for all."""

    def stays(name: str | None) -> bool:
        return float_io if isinstance(float_io, bool) else name in float_io

    ends = list(model.graph.outputs)
    outputs = tuple(
        NativeTensor(v.name or "", str(v.dtype)) if stays(v.name) else _native_output(model.graph, index)
        for index, v in enumerate(ends)
    )
    inputs = tuple(
        NativeTensor(v.name or "", str(v.dtype))
        if stays(v.name) and v.dtype != oir.DataType.INT64
        else _native_input(model.graph, v)
        for v in list(model.graph.inputs)
    )
    return NativeIo(inputs, outputs)


def _native_input(graph: oir.Graph, value: oir.Value) -> NativeTensor:
    name = value.name or ""
    if value.dtype == oir.DataType.INT64:
        return _narrow_input(graph, value)
    quantizer = next((node for node, index in value.uses() if _is_per_tensor(node, "QuantizeLinear", index)), None)
    if quantizer is None or value in graph.outputs:
        return NativeTensor(name, str(value.dtype))
    scale = quantizer.inputs[1]
    zero_point = quantizer.inputs[2]
    same = [node for node, index in value.uses() if _same_quantizer(node, quantizer, index)]
    others = [(node, index) for node, index in value.uses() if node not in same]
    native = _stored_type(quantizer)
    if others:
        dequantize = oir.node("DequantizeLinear", [value, scale, zero_point], name=f"{name}_as_float")
        dequantize.outputs[0].name = f"{name}_as_float"
        dequantize.outputs[0].type = value.type
        dequantize.outputs[0].shape = value.shape
        graph.insert_before(others[0][0], dequantize)
        for node, index in others:
            node.replace_input_with(index, dequantize.outputs[0])
    for node in same:
        oir.convenience.replace_all_uses_with(node.outputs[0], value)
        graph.remove(node, safe=True)
    value.dtype = native
    return NativeTensor(name, str(native), *_numbers(scale, zero_point))


def _narrow_input(graph: oir.Graph, value: oir.Value) -> NativeTensor:
    uses = list(value.uses())
    value.dtype = oir.DataType.INT32
    if uses:
        cast = oir.node("Cast", [value], {"to": int(oir.DataType.INT64)}, name=f"{value.name}_as_int64")
        cast.outputs[0].name = f"{value.name}_as_int64"
        cast.outputs[0].type = oir.TensorType(oir.DataType.INT64)
        cast.outputs[0].shape = value.shape
        graph.insert_before(uses[0][0], cast)
        for node, index in uses:
            node.replace_input_with(index, cast.outputs[0])
    return NativeTensor(value.name or "", "INT32")


def _native_output(graph: oir.Graph, index: int) -> NativeTensor:
    value = graph.outputs[index]
    name = value.name or ""
    dequantizer = value.producer()
    if dequantizer is None or not _is_per_tensor(dequantizer, "DequantizeLinear", 0):
        return NativeTensor(name, str(value.dtype))
    stored = dequantizer.inputs[0]
    if stored is None or stored.producer() is None or stored in graph.outputs:
        return NativeTensor(name, str(value.dtype))
    scale = dequantizer.inputs[1]
    zero_point = dequantizer.inputs[2]
    value.name = f"{name}_as_float"
    stored.name = name
    stored.shape = value.shape
    if zero_point is not None and zero_point.dtype is not None:
        stored.dtype = zero_point.dtype
    graph.outputs[index] = stored
    if not value.uses():
        graph.remove(dequantizer, safe=True)
    return NativeTensor(name, str(stored.dtype), *_numbers(scale, zero_point))


def _stored_type(quantizer: oir.Node) -> oir.DataType:
    """The integer type that ``quantizer`` writes (a per-tensor one, so its zero point is there)."""
    zero_point = quantizer.inputs[2]
    assert zero_point is not None and zero_point.dtype is not None
    return zero_point.dtype


def _is_per_tensor(node: oir.Node, op: str, index: int) -> bool:
    if node.op_type != op or index != 0 or len(node.inputs) < 3 or node.inputs[1] is None or node.inputs[2] is None:
        return False
    scale = node.inputs[1].const_value
    return scale is not None and scale.size == 1


def _same_quantizer(node: oir.Node, other: oir.Node, index: int) -> bool:
    if node is other:
        return True
    if not _is_per_tensor(node, "QuantizeLinear", index):
        return False
    same_type = node.inputs[2].dtype == other.inputs[2].dtype  # type: ignore[union-attr]
    return same_type and _numbers(*node.inputs[1:3]) == _numbers(*other.inputs[1:3])


def _numbers(scale: oir.Value | None, zero_point: oir.Value | None) -> tuple[float, int]:
    assert scale is not None and scale.const_value is not None
    zero = (
        0 if zero_point is None or zero_point.const_value is None else int(np.ravel(zero_point.const_value.numpy())[0])
    )
    return float(np.ravel(scale.const_value.numpy())[0]), zero
