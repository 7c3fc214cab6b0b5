"""Turns tensors of the C interface into :mod:`hexaquant.qnn.records`. Used in child processes only."""

from __future__ import annotations

import ctypes

import numpy as np

from hexaquant.qnn.abi import GraphInfo, Param, QuantizeParams, Tensor
from hexaquant.qnn.records import GraphRecord, OpInfo, QuantInfo, TensorInfo

DTYPES = {
    0x008: "int8",
    0x016: "int16",
    0x032: "int32",
    0x064: "int64",
    0x108: "uint8",
    0x116: "uint16",
    0x132: "uint32",
    0x164: "uint64",
    0x216: "float16",
    0x226: "bfloat16",
    0x232: "float32",
    0x304: "sfixed4",
    0x308: "sfixed8",
    0x316: "sfixed16",
    0x332: "sfixed32",
    0x404: "ufixed4",
    0x408: "ufixed8",
    0x416: "ufixed16",
    0x432: "ufixed32",
    0x508: "bool",
}
"""Qnn_DataType_t -> our name; fixed = quantized with an encoding."""

KINDS = {0: "input", 1: "output", 2: "inout", 3: "native", 4: "static", 5: "null"}
ENCODING_NAMES = {
    0: "per_tensor",
    1: "per_axis",
    2: "bitwidth_per_tensor",
    3: "bitwidth_per_axis",
    4: "per_block",
    5: "lpbq",
}


def describe_tensor(tensor: Tensor) -> TensorInfo:
    """Name, type, shape, kind and encoding of ``tensor``."""
    body = tensor.body
    shape = tuple(body.dimensions[i] for i in range(body.rank))
    dtype = DTYPES.get(body.data_type, hex(body.data_type))
    kind = KINDS.get(body.type, str(body.type))
    return TensorInfo((body.name or b"").decode(), dtype, shape, kind, describe_quant(body.quantize, shape))


def describe_quant(quantize: QuantizeParams, shape: tuple[int, ...]) -> QuantInfo | None:
    """The encoding, or None for tensors that are not quantized."""
    if quantize.defined != 1 or quantize.encoding not in ENCODING_NAMES:
        return None
    kind = ENCODING_NAMES[quantize.encoding]
    values = quantize.values
    if kind == "per_tensor":
        item = values.per_tensor
        return QuantInfo(kind, (item.scale,), (item.offset,))
    if kind == "per_axis":
        axis = values.per_axis
        items = axis.items[: axis.count]
        return QuantInfo(kind, tuple(i.scale for i in items), tuple(i.offset for i in items), axis.axis)
    if kind == "bitwidth_per_tensor":
        one = values.bitwidth_per_tensor
        return QuantInfo(kind, (one.scale,), (one.offset,), bits=one.bitwidth)
    if kind == "bitwidth_per_axis":
        many = values.bitwidth_per_axis
        offsets = tuple(many.offsets[: many.count]) if many.offsets else (0,) * many.count
        return QuantInfo(kind, tuple(many.scales[: many.count]), offsets, many.axis, many.bitwidth)
    if kind == "per_block":
        return _describe_blocks(quantize, shape)
    return _describe_lpbq(quantize, shape)


def _describe_blocks(quantize: QuantizeParams, shape: tuple[int, ...]) -> QuantInfo:
    blocks = quantize.values.per_block
    sizes = blocks.block_size[: len(shape)]
    count = int(np.prod([-(-dim // size) for dim, size in zip(shape, sizes)]))
    items = blocks.items[:count]
    return QuantInfo("per_block", tuple(i.scale for i in items), tuple(i.offset for i in items))


def _describe_lpbq(quantize: QuantizeParams, shape: tuple[int, ...]) -> QuantInfo:
    lpbq = quantize.values.expansion.contents
    channels = shape[lpbq.axis]
    items = lpbq.items[:channels]
    width = ctypes.c_uint8 if lpbq.block_scale_storage == 0 else ctypes.c_uint16
    blocks = ctypes.cast(lpbq.block_scales, ctypes.POINTER(width))[: channels * lpbq.blocks_per_axis]
    scales = tuple(i.scale for i in items)
    offsets = tuple(i.offset for i in items)
    return QuantInfo("lpbq", scales, offsets, lpbq.axis, lpbq.block_scale_bitwidth, tuple(blocks))


def describe_graph(graph: GraphInfo) -> GraphRecord:
    """Name, inputs and outputs of ``graph``."""
    body = graph.body
    inputs = tuple(describe_tensor(body.inputs[i]) for i in range(body.input_count))
    outputs = tuple(describe_tensor(body.outputs[i]) for i in range(body.output_count))
    return GraphRecord((body.name or b"").decode(), inputs, outputs)


def describe_op(op: ctypes.Structure) -> OpInfo:
    """Name, type, tensors and parameters of an OpConfig."""
    body = op.body
    inputs = tuple((body.inputs[i].body.name or b"").decode() for i in range(body.input_count))
    outputs = tuple((body.outputs[i].body.name or b"").decode() for i in range(body.output_count))
    params = dict(_describe_param(body.params[i]) for i in range(body.param_count))
    return OpInfo(body.name.decode(), body.type.decode(), inputs, outputs, params)


def _describe_param(param: Param) -> tuple[str, object]:
    name = param.name.decode()
    if param.type == 1:
        return name, _small_tensor(param.value.tensor)
    scalar = param.value.scalar
    dtype = DTYPES.get(scalar.data_type, "string")
    field = {"float32": "float32", "int32": "int32", "bool": "uint8", "string": "string"}.get(dtype, "uint32")
    value = getattr(scalar.value, field)
    return name, value.decode() if isinstance(value, bytes) else value


def _small_tensor(tensor: Tensor) -> object:
    """Values of a parameter tensor such as strides, or its shape when it is large."""
    info = describe_tensor(tensor)
    buffer = tensor.body.buffer.client
    if not buffer.data or buffer.size > 4096 or info.dtype not in ("uint32", "int32", "float32", "bool"):
        return {"tensor": list(info.shape)}
    dtype = np.dtype("uint8" if info.dtype == "bool" else info.dtype)
    flat = np.frombuffer(ctypes.string_at(buffer.data, buffer.size), dtype)
    return flat.reshape(info.shape).tolist()
