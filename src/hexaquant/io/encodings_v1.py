"""AIMET encodings 1.0.0 (the default): lists of objects with a name; unsigned grid, ``x ~ (q + offset) * scale``.

::

    {"version": "1.0.0",
     "activation_encodings": [{"name": "x", "bw": 8, "dtype": "INT", "enc_type": "PER_TENSOR", "is_sym": false,
                               "offset": [-125], "scale": [0.03]}],
     "param_encodings": [{"name": "w", ..., "enc_type": "PER_CHANNEL", "offset": [C x -128], "scale": [C]},
       {"name": "v", "bw": 4, ..., "enc_type": "PER_BLOCK", "block_size": 16, "scale": [C*nb, channel-major]},
       {"name": "u", "bw": 8, "compressed_bw": 4, ..., "enc_type": "LPBQ", "block_size": 16, "offset": [C x -128],
        "scale": [C], "per_block_int_scale": [C*nb, 1 .. 16]}]}

The file holds no axes: per-channel reads as axis 0 and blocks as axis 1 until ``EncodingsFile.resolve`` sees the
op that consumes the tensor. The number of channels of PER_BLOCK is unknown too, so its scales read as one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hexaquant.core.encoding import Encoding, float_encoding
from hexaquant.core.errors import EncodingError
from hexaquant.core.grid import Granularity, Grid, Lpbq, PerBlock, PerChannel, PerTensor
from hexaquant.io import encoding_fields as fields

VERSION = "1.0.0"


def read_section(section: Any, kind: str, source: str) -> dict[str, Encoding]:
    """Encodings of ``param_encodings`` or ``activation_encodings``. Raises EncodingError naming the tensor."""
    if not isinstance(section, list):
        raise EncodingError(f"{source}: '{kind}_encodings' is not a list; export it again")
    encodings: dict[str, Encoding] = {}
    for position, item in enumerate(section):
        entry = fields.entry_of(item, f"{source}: {kind} encoding {position}")
        name = str(fields.require(entry, "name", f"{source}: {kind} encoding {position}"))
        if name in encodings:
            raise EncodingError(f"{source}: {kind} '{name}' appears twice; keep one of its encodings")
        encodings[name] = _read_entry(entry, f"{source}: {kind} '{name}'", kind == "param")
    return encodings


def _read_entry(entry: Mapping[str, Any], where: str, is_param: bool) -> Encoding:
    bits = fields.bit_width(entry, "bw", where)
    if fields.is_float(entry, where):
        return float_encoding(bits)
    if any(fields.numbers(entry.get("zero_point_shift", 0.0), "zero_point_shift", where).flatten().tolist()):
        raise EncodingError(f"{where} has a half-step 'zero_point_shift', which hexaquant does not support")
    symmetric = fields.flag(entry.get("is_sym", is_param), "is_sym", where)
    signed = is_param and symmetric
    scale = fields.numbers(fields.require(entry, "scale", where), "scale", where).flatten()
    offset = fields.numbers(fields.require(entry, "offset", where), "offset", where).flatten()
    kind = str(entry.get("enc_type", "PER_TENSOR" if scale.numel() == 1 else "PER_CHANNEL"))
    if kind == "LPBQ":
        return _read_lpbq(entry, bits, scale, where)
    granularity, shape = _layout(entry, kind, scale, where)
    if offset.numel() == 1:
        offset = offset.expand_as(scale)
    grid = fields.integer_grid(where, bits, signed, symmetric, granularity)
    if offset.numel() != scale.numel():
        raise EncodingError(f"{where}: {scale.numel()} scales but {offset.numel()} offsets")
    return fields.int_encoding(where, grid, scale.reshape(shape), offset.reshape(shape))


def _layout(entry: Mapping[str, Any], kind: str, scale: Tensor, where: str) -> tuple[Granularity, tuple[int, ...]]:
    """Granularity and stored shape of the scale, both provisional where the file does not say."""
    if kind == "PER_TENSOR":
        if scale.numel() != 1:
            raise EncodingError(f"{where} is PER_TENSOR but has {scale.numel()} scales")
        return PerTensor(), ()
    if kind == "PER_CHANNEL":
        return PerChannel(0), (-1,)
    if kind == "PER_BLOCK":
        size = fields.whole(fields.require(entry, "block_size", where), "block_size", where)
        return PerBlock(1, size, 0), (1, -1)
    raise EncodingError(f"{where} has enc_type '{kind}', which hexaquant does not support")


def _read_lpbq(entry: Mapping[str, Any], decompressed: int, scale: Tensor, where: str) -> Encoding:
    bits = fields.bit_width(entry, "compressed_bw", where)
    size = fields.whole(fields.require(entry, "block_size", where), "block_size", where)
    ints = fields.numbers(fields.require(entry, "per_block_int_scale", where), "per_block_int_scale", where)
    return lpbq_encoding(where, bits, decompressed, Lpbq(1, size, 0, decompressed), scale, ints)


def lpbq_encoding(where: str, bits: int, decompressed: int, layout: Lpbq, scale: Tensor, ints: Tensor) -> Encoding:
    """A checked LPBQ encoding; ``scale`` (C,), ``ints`` holding C * n_blocks integers 1 .. 2^(decompressed - bits)."""
    channels = scale.numel()
    if decompressed < bits:
        raise EncodingError(f"{where}: {bits} compressed bits are more than the {decompressed} of the whole scale")
    top = 2 ** (decompressed - bits)
    if channels == 0 or ints.numel() % channels:
        raise EncodingError(f"{where}: {ints.numel()} block scales do not divide among {channels} channels")
    if bool((ints != ints.round()).any()) or bool((ints < 1).any()) or bool((ints > top).any()):
        raise EncodingError(f"{where}: a per_block_int_scale is not an integer in 1 .. {top}")
    grid = fields.integer_grid(where, bits, True, True, layout)
    offset = scale.new_full(scale.shape, float(grid.symmetric_offset))
    return fields.int_encoding(where, grid, scale, offset, ints.reshape(channels, -1))


def write_section(encodings: Mapping[str, Encoding]) -> list[dict[str, Any]]:
    """The JSON value of ``param_encodings`` or ``activation_encodings``."""
    return [{"name": name} | _write_entry(encoding) for name, encoding in encodings.items()]


def _write_entry(encoding: Encoding) -> dict[str, Any]:
    grid = encoding.grid
    if grid.is_float:
        return {"bw": grid.bits, "dtype": "FLOAT", "enc_type": "PER_TENSOR"}
    if isinstance(grid.granularity, Lpbq):
        return _write_lpbq(encoding, grid, grid.granularity)
    kind = {PerTensor: "PER_TENSOR", PerChannel: "PER_CHANNEL", PerBlock: "PER_BLOCK"}[type(grid.granularity)]
    entry: dict[str, Any] = {"bw": grid.bits, "dtype": "INT", "enc_type": kind, "is_sym": grid.symmetric}
    if isinstance(grid.granularity, PerBlock):
        entry["block_size"] = grid.granularity.block_size
    offset = [int(o) for o in encoding.offset.flatten().tolist()]
    return entry | {"offset": offset, "scale": fields.listed(encoding.scale.flatten())}


def _write_lpbq(encoding: Encoding, grid: Grid, layout: Lpbq) -> dict[str, Any]:
    blocks = encoding.block_scale
    if blocks is None:
        raise EncodingError("an LPBQ encoding lacks its block scales; make it with lpbq_from_weight")
    offset = [-(2 ** (layout.decompressed_bits - 1))] * encoding.scale.numel()
    head = {"bw": layout.decompressed_bits, "compressed_bw": grid.bits, "dtype": "INT", "enc_type": "LPBQ"}
    tail = {"per_block_int_scale": [int(n) for n in blocks.flatten().tolist()]}
    body = {"block_size": layout.block_size, "is_sym": True, "offset": offset}
    return head | body | {"scale": fields.listed(encoding.scale)} | tail
