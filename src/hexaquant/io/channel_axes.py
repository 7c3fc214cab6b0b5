"""Which axes of a parameter carry the scales, where an encodings file leaves that to the consuming op.

=================  ============  ==========
consumer (input)   channel axis  block axis
=================  ============  ==========
Conv (1)           0             1
ConvTranspose (1)  1             0
Gemm (1), transB   0             1
Gemm (1)           1             0
MatMul (1)         last          last but one
anything else      the axis that fits the number of scales, the first one if several do
=================  ============  ==========
"""

from __future__ import annotations

import onnx_ir as oir

from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import EncodingError
from hexaquant.core.grid import Grid, Lpbq, PerBlock, PerChannel, PerTensor
from hexaquant.htp import kernels
from hexaquant.ir.graph import shape_of

PASS_THROUGH = {"QuantizeLinear", "DequantizeLinear", "Identity", "Cast"}
"""Ops that keep the axes of their input: the consumer behind them decides."""
_OTHER_MODEL = "these encodings belong to another model"


def channel_axis(value: oir.Value, rank: int) -> int | None:
    """Channel axis of a parameter of ``rank`` axes by its first consumer that has one, else None."""
    for node, index in value.uses():
        if node.op_type in PASS_THROUGH and index == 0:
            found = channel_axis(node.outputs[0], rank)
        else:
            found = _axis_of_input(node, index, rank)
        if found is not None:
            return found
    return None


def _axis_of_input(node: oir.Node, index: int, rank: int) -> int | None:
    if index != 1 or rank < 2:
        return None
    transposed = node.attributes.get("transB")
    return kernels.channel_axis(node.op_type, {} if transposed is None else {"transB": transposed.as_int()}, rank)


def block_axis(channel: int, rank: int) -> int:
    """The axis along which blocks run: the input channels, next to ``channel``."""
    return channel - 1 if channel > 0 else min(1, rank - 1)


def resolve_axes(name: str, encoding: Encoding, value: oir.Value) -> Encoding:
    """``encoding`` of the tensor ``value`` with its axes set from the consumer and its blocks counted.

    Raises EncodingError when the number of scales does not fit the tensor.
    """
    grid = encoding.grid
    shape = _static_shape(value)
    if shape is None or grid.is_float or isinstance(grid.granularity, PerTensor):
        return encoding
    channel = channel_axis(value, len(shape))
    if isinstance(grid.granularity, PerChannel):
        return _resolve_channels(name, encoding, shape, channel)
    return _resolve_blocks(name, encoding, grid.granularity, shape, 0 if channel is None else channel)


def _static_shape(value: oir.Value) -> tuple[int, ...] | None:
    shape = shape_of(value)
    if shape is None or not shape:
        return None
    return tuple(d if isinstance(d, int) else -1 for d in shape)


def _resolve_channels(name: str, encoding: Encoding, shape: tuple[int, ...], channel: int | None) -> Encoding:
    count = encoding.scale.numel()
    if channel is None:
        fitting = [axis for axis, size in enumerate(shape) if size == count]
        channel = fitting[0] if fitting else 0
    if shape[channel] == count:
        return _with_layout(encoding, PerChannel(channel), (count,))
    channels = shape[channel]
    axis = block_axis(channel, len(shape))
    blocks = count // channels if channels > 0 and count % channels == 0 else 0
    if blocks < 2 or len(shape) < 2 or shape[axis] % blocks:
        raise EncodingError(f"'{name}' has {count} scales, which do not fit its shape {shape}; {_OTHER_MODEL}")
    return _with_layout(encoding, PerBlock(axis, shape[axis] // blocks, channel), (channels, blocks))


def _resolve_blocks(
    name: str, encoding: Encoding, layout: PerBlock | Lpbq, shape: tuple[int, ...], channel: int
) -> Encoding:
    axis = block_axis(channel, len(shape))
    scales = encoding.scale if encoding.block_scale is None else encoding.block_scale
    blocks = shape[axis] // layout.block_size
    if len(shape) < 2 or shape[axis] % layout.block_size or scales.numel() != shape[channel] * blocks:
        raise EncodingError(
            f"'{name}' has {scales.numel()} scales for blocks of {layout.block_size}, which do not fit its shape "
            f"{shape}; {_OTHER_MODEL}"
        )
    if isinstance(layout, PerBlock):
        return _with_layout(encoding, PerBlock(axis, layout.block_size, channel), (shape[channel], blocks))
    return _with_layout(encoding, Lpbq(axis, layout.block_size, channel, layout.decompressed_bits), (shape[channel],))


def _with_layout(encoding: Encoding, layout: PerChannel | PerBlock | Lpbq, shape: tuple[int, ...]) -> Encoding:
    grid = encoding.grid
    grid = Grid(grid.bits, grid.signed, grid.symmetric, layout, grid.kind)
    return Encoding(grid, encoding.scale.reshape(shape), encoding.offset.reshape(shape), encoding.block_scale)
