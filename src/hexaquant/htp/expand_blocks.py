"""LPBQ weights of Conv and Gemm as the same numbers on one grid a channel, for the target takes blocks in MatMul only.

A weight in LPBQ is q s b with q of 4 bits, a float scale s a channel and a whole number b a block, which fits into 8
bits by construction (``decompressed_bits``): (q b) s are integers of 8 bits with scale s a channel. Every number stays
what it was, but for float32's own rounding of q (b s) and (q b) s; the weight takes twice the room.
"""

from __future__ import annotations

import torch

from hexaquant.core.encoding import Encoding
from hexaquant.core.grid import Grid, Lpbq, PerChannel
from hexaquant.htp import kernels
from hexaquant.ir.edit import set_constant
from hexaquant.ir.graph import Graph, constant

CONTAINER = 8
"""Bits of the weights that result."""


def expand_lpbq(graph: Graph, given: dict[str, Encoding]) -> list[str]:
    """Put the quantized numbers into ``graph`` and their 8-bit encodings into ``given``; returns the weights' names.

    A weight qualifies that has an LPBQ encoding of at most 8 bits when decompressed, with scales along the axis of its
    output channels, and is read by Conv, ConvTranspose or Gemm.
    """
    changed = []
    for node in graph.nodes:
        index = kernels.WEIGHT_INPUTS.get(node.op_type)
        weight = node.inputs[index] if index is not None and index < len(node.inputs) else None
        encoding = None if weight is None or node.op_type == "MatMul" else given.get(weight.name or "")
        data = constant(weight)
        if weight is None or encoding is None or data is None or not _qualifies(encoding):
            continue
        expanded = _per_channel(encoding)
        numbers = encoding.fake_quantize(torch.from_numpy(data.copy()))
        set_constant(weight, expanded.fake_quantize(numbers).numpy())
        given[weight.name or ""] = expanded
        changed.append(weight.name or "")
    return changed


def _qualifies(encoding: Encoding) -> bool:
    layout = encoding.grid.granularity
    return isinstance(layout, Lpbq) and layout.decompressed_bits <= CONTAINER


def _per_channel(encoding: Encoding) -> Encoding:
    layout = encoding.grid.granularity
    assert isinstance(layout, Lpbq)
    grid = Grid(CONTAINER, encoding.grid.signed, True, PerChannel(layout.channel_axis))
    return Encoding(grid, encoding.scale, torch.full_like(encoding.scale, float(grid.symmetric_offset)))
