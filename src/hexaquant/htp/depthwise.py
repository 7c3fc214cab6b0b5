"""Depthwise weights of 4 bits as the same numbers in 8 bits, for a finer bias.

A depthwise layer on the target adds its int32 bias up to one unit too near to zero, in about half of the channels
(measured on the emulator of release 2.7.0; neither the declared scale of the bias nor the type that holds the weight
matters). A unit is s_x s_w: with 8-bit weights a small part of an output step, with 4-bit weights up to eleven steps.
So q s becomes (16 q)(s / 16) with 8-bit integers 16 q, and the bias b s_x s_w becomes (16 b)(s_x s_w / 16): every
number stays what it was, to the last bit, for a scale divided by 16 only changes its exponent. The weight takes twice
the room; depthwise weights are a small part of a network's.

Other layers lose less of their many products: with 16-bit activations a first convolution 51 steps of 65536 and a small
network's logits 16, which become 3 and 2 on the finer grid. It doubles their weights, so it is done on request only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as oir

from hexaquant.core.encoding import MIN_SCALE
from hexaquant.htp.overflow import BIAS_LIMIT

FACTOR = 16

Numbers = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


def refine_depthwise(model: oir.Model, *, every_layer: bool = False) -> dict[str, tuple[int, ...]]:
    """Refine every layer of ``model`` (QDQ) in place for which all of these hold:

    1. a Conv with one input channel a group; with ``every_layer`` any Conv, or Gemm with transB;
    2. its weight is constant, int4 with zero points 0 and one scale a tensor or a channel, and has no other reader;
    3. it has no bias, or a constant int32 one with zero points 0 and no other reader.

    A channel is left as it is (factor 1) where 16 times its largest sum would leave int32, or a 16th of its scale
    the range of scales (MIN_SCALE). Returns, by the name of each integer tensor, the factor by which each of its
    scales was divided.
    """
    refined: dict[str, tuple[int, ...]] = {}
    for node in list(model.graph):
        layer = _layer(node) if every_layer or _is_depthwise(node) else None
        if layer is None:
            continue
        factors = _factors(node, *layer)
        if (factors == 1).all():
            continue
        for stored in layer:
            divisor = factors if stored.scale.ndim else factors.min().reshape(())
            stored.write(model.graph, divisor)
            refined[stored.name] = tuple(divisor.reshape(-1).tolist())
    return refined


@dataclass(frozen=True)
class _Stored:
    """A constant behind a DequantizeLinear. ``name``: of the tensor that holds its integers."""

    name: str
    dequantize: oir.Node
    integers: Ints
    scale: Numbers
    kind: type

    def write(self, graph: oir.Graph, divisor: Ints) -> None:
        """Integers times ``divisor`` (one, or one a channel) as ``kind``, scales divided by it."""
        before, scale, zero = self.dequantize.inputs
        assert before is not None and scale is not None and zero is not None
        quantize = before.producer()
        if quantize is None:
            graph.initializers.pop(self.name)
        before.name = f"{self.name}/coarse"
        shape = [-1, *[1] * (self.integers.ndim - 1)] if divisor.ndim else ()
        parts = {
            self.name: (self.integers * divisor.reshape(shape)).astype(self.kind),
            f"{scale.name}/fine": (self.scale / divisor).astype(np.float32),
            f"{zero.name}/fine": np.zeros(self.scale.shape, self.kind),
        }
        for index, (name, array) in enumerate(parts.items()):
            self.dequantize.replace_input_with(index, _constant(graph, name, array))
        if quantize is not None:
            graph.remove(quantize, safe=True)


def _constant(graph: oir.Graph, name: str, array: Numbers) -> oir.Value:
    tensor = oir.Tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
    shape = oir.Shape(array.shape)
    dtype = oir.TensorType(tensor.dtype)
    value = oir.Value(name=name, shape=shape, type=dtype, const_value=tensor)
    graph.register_initializer(value)
    return value


def _is_depthwise(node: oir.Node) -> bool:
    shape = None if node.op_type != "Conv" or node.inputs[1] is None else node.inputs[1].shape
    return shape is not None and node.attributes.get_int("group", 1) > 1 and shape[1] == 1


def _layer(node: oir.Node) -> list[_Stored] | None:
    """The weight of ``node``, and its bias where it has one; None where a condition does not hold."""
    if node.op_type != "Conv" and (node.op_type != "Gemm" or node.attributes.get_int("transB", 0) != 1):
        return None
    weight = _stored(node.inputs[1], oir.DataType.INT4, np.int8)
    if weight is None:
        return None
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return [weight]
    bias = _stored(node.inputs[2], oir.DataType.INT32, np.int32)
    return None if bias is None or bias.scale.shape != weight.scale.shape else [weight, bias]


def _factors(node: oir.Node, weight: _Stored, bias: _Stored | None = None) -> Ints:
    """(C,) FACTOR, or 1 for channels that must stay; the same for all when they share a scale."""
    channels = len(weight.integers)
    largest = np.abs(weight.integers).reshape(channels, -1).sum(1) * 2 ** _bits(node.inputs[0])
    if bias is not None:
        largest = largest + np.abs(bias.integers)
    fits = (largest * FACTOR <= BIAS_LIMIT) & (weight.scale / FACTOR >= MIN_SCALE)
    return np.where(fits if weight.scale.ndim else fits.all(), FACTOR, 1) * np.ones(channels, np.int64)


def _stored(value: oir.Value | None, dtype: oir.DataType, kind: type) -> _Stored | None:
    """The constant that ``value`` dequantizes if it has type ``dtype``, zero points 0 and one reader."""
    node = None if value is None else value.producer()
    if value is None or node is None or node.op_type != "DequantizeLinear" or len(value.uses()) != 1:
        return None
    before, scale, zero = (*node.inputs, None)[:3]
    if before is None or before.dtype != dtype or len(before.uses()) != 1 or "block_size" in node.attributes:
        return None
    if scale is None or scale.const_value is None or zero is None or zero.const_value is None:
        return None
    integers = _integers(before, node)
    if integers is None or zero.const_value.numpy().astype(np.int64).any():
        return None
    scales = scale.const_value.numpy()
    if scales.ndim and node.attributes.get_int("axis", 1) % integers.ndim != 0:
        return None
    return _Stored(before.name or "", node, integers, scales, kind)


def _integers(before: oir.Value, dequantize: oir.Node) -> Ints | None:
    """What ``before`` holds: itself a constant, or quantized from a float one."""
    if before.const_value is not None and before.is_initializer():
        return before.const_value.numpy().astype(np.int64)
    quantize = before.producer()
    source = None if quantize is None or quantize.op_type != "QuantizeLinear" else quantize.inputs[0]
    scale = dequantize.inputs[1]
    if source is None or source.const_value is None or scale is None or scale.const_value is None:
        return None
    floats = source.const_value.numpy()
    scales = scale.const_value.numpy()
    divisor = scales.reshape(-1, *[1] * (floats.ndim - 1)) if scales.ndim else scales
    limits = ml_dtypes.iinfo(ml_dtypes.int4)
    return np.clip(np.rint(floats / divisor), limits.min, limits.max).astype(np.int64)


def _bits(value: oir.Value | None) -> int:
    """Bits of the activation that ``value`` dequantizes; 16, the most there are, when it is not known."""
    dequantize = None if value is None else value.producer()
    stored = None if dequantize is None or not dequantize.inputs else dequantize.inputs[0]
    dtype = None if stored is None else stored.dtype
    return 8 if dtype in (oir.DataType.UINT8, oir.DataType.INT8) else 16
