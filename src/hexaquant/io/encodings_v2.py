"""AIMET encodings 2.0.0: one list mirroring ONNX QuantizeLinear, ``y = saturate(round(x / y_scale) + y_zero_point)``.

::

    {"version": "2.0.0", "encodings": [
      {"name": "x", "output_dtype": "uint8", "y_scale": 0.03, "y_zero_point": 125},
      {"name": "w", "output_dtype": "int8", "axis": 0, "y_scale": [C]},
      {"name": "b", "output_dtype": "int32", "axis": 0, "y_scale": [C]},
      {"name": "v", "output_dtype": "int4", "axis": 1, "block_size": 16, "y_scale": [[C x nb]]},
      {"name": "u", "output_dtype": "int4", "axis": 1, "block_size": 16,
       "per_block_int_scale": [[C x nb]], "per_channel_float_scale": [[C x 1]]}]}

Conventions: a zero point of all zeros is omitted; signed without a zero point reads as symmetric (an asymmetric
signed tensor whose zero point happens to be 0 is written with it). Scales of blocks have the tensor's rank and
axis order (conv: [O][nb][1][1]). Float tensors are absent. The list does not tell activations from parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import EncodingError
from hexaquant.core.grid import Grid, Lpbq, PerBlock, PerChannel, PerTensor
from hexaquant.io import encoding_fields as fields
from hexaquant.io.encodings_v1 import lpbq_encoding

VERSION = "2.0.0"
DTYPES = {f"{sign}int{bits}": (bits, sign == "") for sign in ("", "u") for bits in (2, 4, 8, 16, 32)}
"""``output_dtype`` -> (bits, signed)."""


def read_list(section: Any, source: str) -> dict[str, Encoding]:
    """Encodings of the one list. Raises EncodingError naming the tensor."""
    if not isinstance(section, list):
        raise EncodingError(f"{source}: 'encodings' is not a list; export it again")
    encodings: dict[str, Encoding] = {}
    for position, item in enumerate(section):
        entry = fields.entry_of(item, f"{source}: encoding {position}")
        name = str(fields.require(entry, "name", f"{source}: encoding {position}"))
        if name in encodings:
            raise EncodingError(f"{source}: '{name}' appears twice; keep one of its encodings")
        encodings[name] = _read_entry(entry, f"{source}: '{name}'")
    return encodings


def looks_like_param(encoding: Encoding) -> bool:
    """Best guess without the graph: parameters are per channel, per block or symmetric and signed."""
    grid = encoding.grid
    return not isinstance(grid.granularity, PerTensor) or (grid.signed and grid.symmetric)


def _read_entry(entry: Mapping[str, Any], where: str) -> Encoding:
    dtype = str(fields.require(entry, "output_dtype", where))
    if dtype not in DTYPES:
        raise EncodingError(f"{where} has output_dtype '{dtype}', which hexaquant does not support")
    bits, signed = DTYPES[dtype]
    if "per_block_int_scale" in entry:
        return _read_lpbq(entry, bits, where)
    if isinstance(entry.get("y_scale"), dict):
        raise EncodingError(f"{where} has a nested 'y_scale' (version 2.1.0); export version 2.0.0 instead")
    scale = fields.numbers(fields.require(entry, "y_scale", where), "y_scale", where)
    zero_point = fields.numbers(entry.get("y_zero_point", 0), "y_zero_point", where)
    symmetric = signed and "y_zero_point" not in entry
    half = 2 ** (bits - 1) if signed else 0
    offset = -(zero_point.expand_as(scale) if zero_point.dim() == 0 else zero_point) - half
    if offset.shape != scale.shape:
        raise EncodingError(f"{where}: 'y_scale' and 'y_zero_point' differ in shape")
    if "block_size" in entry:
        return _read_blocks(entry, Grid(bits, signed, symmetric), scale, offset, where)
    granularity = PerTensor() if scale.dim() == 0 else PerChannel(_axis(entry, where))
    grid = fields.integer_grid(where, bits, signed, symmetric, granularity)
    return fields.int_encoding(where, grid, scale, offset)


def _axis(entry: Mapping[str, Any], where: str) -> int:
    return fields.whole(fields.require(entry, "axis", where), "axis", where)


def _read_blocks(entry: Mapping[str, Any], grid: Grid, scale: Tensor, offset: Tensor, where: str) -> Encoding:
    size = fields.whole(entry["block_size"], "block_size", where)
    axis, channel = _block_axes(_axis(entry, where), scale, where)
    layout = PerBlock(axis, size, channel)
    grid = fields.integer_grid(where, grid.bits, grid.signed, grid.symmetric, layout)
    return fields.int_encoding(where, grid, as_rows(scale, channel, axis), as_rows(offset, channel, axis))


def _read_lpbq(entry: Mapping[str, Any], bits: int, where: str) -> Encoding:
    """LPBQ; the file does not say the decompressed width, which is twice the compressed one (4 to 8)."""
    size = fields.whole(fields.require(entry, "block_size", where), "block_size", where)
    ints = fields.numbers(entry["per_block_int_scale"], "per_block_int_scale", where)
    key = "per_channel_float_scale"
    scale = fields.numbers(fields.require(entry, key, where), key, where).flatten()
    axis, channel = _block_axes(_axis(entry, where), ints, where)
    layout = Lpbq(axis, size, channel, 2 * bits)
    return lpbq_encoding(where, bits, 2 * bits, layout, scale, as_rows(ints, channel, axis))


def _block_axes(axis: int, scale: Tensor, where: str) -> tuple[int, int]:
    """(block axis, channel axis): the channel axis is the other one that has more than one scale."""
    if scale.dim() < 2 or not -scale.dim() <= axis < scale.dim():
        raise EncodingError(f"{where}: block scales of shape {tuple(scale.shape)} do not fit axis {axis}")
    if scale.numel() == 0:
        raise EncodingError(f"{where}: the list of block scales is empty; export it again")
    axis %= scale.dim()
    others = [d for d in range(scale.dim()) if d != axis and scale.shape[d] > 1]
    if len(others) > 1:
        raise EncodingError(f"{where}: block scales vary along axes {others}; only one channel axis is supported")
    return axis, others[0] if others else (1 if axis == 0 else 0)


def as_rows(scale: Tensor, channel: int, axis: int) -> Tensor:
    """Full-rank block scales (singleton elsewhere) as (channels, blocks)."""
    moved = scale.movedim((channel, axis), (0, 1))
    return moved.reshape(moved.shape[0], moved.shape[1])


def at_rank(rows: Tensor, channel: int, axis: int, rank: int) -> Tensor:
    """(channels, blocks) as full-rank block scales with singletons elsewhere; inverse of :func:`as_rows`."""
    wide = rows.reshape(*rows.shape, *([1] * (rank - 2)))
    return wide.movedim((0, 1), (channel, axis))


def writable(encoding: Encoding) -> bool:
    """False for what the version cannot hold: float tensors and odd bit widths."""
    return not encoding.grid.is_float and encoding.grid.bits in {bits for bits, _ in DTYPES.values()}


def write_list(encodings: Mapping[str, Encoding], ranks: Mapping[str, int]) -> list[dict[str, Any]]:
    """The JSON list, without what is not :func:`writable`. ``ranks`` gives the rank of blocked tensors (default 2)."""
    kept = {name: e for name, e in encodings.items() if writable(e)}
    return [{"name": name} | _write_entry(e, ranks.get(name, 2)) for name, e in kept.items()]


def _write_entry(encoding: Encoding, rank: int) -> dict[str, Any]:
    grid = encoding.grid
    layout = encoding.grid.granularity
    entry: dict[str, Any] = {"output_dtype": f"{'' if grid.signed else 'u'}int{grid.bits}"}
    if isinstance(layout, PerTensor):
        return entry | _numbers(grid, encoding.scale, encoding.offset)
    if isinstance(layout, PerChannel):
        return entry | {"axis": layout.axis} | _numbers(grid, encoding.scale, encoding.offset)
    rank = max(rank, layout.axis + 1, layout.channel_axis + 1)
    axes = (layout.channel_axis % rank, layout.axis % rank, rank)
    entry |= {"axis": axes[1], "block_size": layout.block_size}
    if isinstance(layout, PerBlock):
        return entry | _numbers(grid, at_rank(encoding.scale, *axes), at_rank(encoding.offset, *axes))
    if encoding.block_scale is None:
        raise EncodingError("an LPBQ encoding lacks its block scales; make it with lpbq_from_weight")
    ints = at_rank(encoding.block_scale, *axes).to(torch.int64)
    floats = at_rank(encoding.scale[:, None], *axes)
    return entry | {"per_block_int_scale": ints.tolist(), "per_channel_float_scale": fields.listed(floats)}


def _numbers(grid: Grid, scale: Tensor, offset: Tensor) -> dict[str, Any]:
    half = 2 ** (grid.bits - 1) if grid.signed else 0
    zero_point = (-offset.double() - half).to(torch.int64)
    result: dict[str, Any] = {"y_scale": fields.listed(scale)}
    if bool(zero_point.any()) or (grid.signed and not grid.symmetric):
        result["y_zero_point"] = zero_point.tolist()
    return result
