"""AIMET encodings 0.6.1: a dict of lists, one object a scale, booleans as strings.

::

    {"version": "0.6.1",
     "activation_encodings": {"x": [{"bitwidth": 8, "dtype": "int", "is_symmetric": "False",
                                     "max": 0.97, "min": -0.24, "offset": -51, "scale": 0.0048}]},
     "param_encodings": {"w": [{...}, "one per output channel, or channel-major one per block"]}}

Numbers are on the unsigned grid: ``x ~ (q + offset) * scale``. The file holds neither axes nor block sizes: a list
of several reads as per channel of axis 0 until ``EncodingsFile.resolve`` sees the tensor, which also recognises
blocks. LPBQ degrades to plain blocks (the same real values). A float tensor: ``[{"bitwidth": 16, "dtype": "float"}]``.

Legacy aimet_torch files (``*_torch.encodings``) have the same entries keyed by module: ``{"conv1": {"output":
{"0": {...}}}}``; they read as tensors called ``conv1.output[0]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, float_encoding
from hexaquant.core.errors import EncodingError
from hexaquant.core.grid import Grid, Lpbq, PerChannel, PerTensor
from hexaquant.io import encoding_fields as fields

VERSION = "0.6.1"


def looks_like(document: Mapping[str, Any]) -> bool:
    """True for dict-of-lists sections, whatever the version says (legacy torch files say 1.0.0)."""
    sections = (document.get("activation_encodings"), document.get("param_encodings"))
    return any(isinstance(s, dict) for s in sections)


def read_section(section: Any, kind: str, source: str) -> dict[str, Encoding]:
    """Encodings of ``param_encodings`` or ``activation_encodings``. Raises EncodingError naming the tensor."""
    entries = fields.entry_of(section, f"{source}: '{kind}_encodings'")
    encodings: dict[str, Encoding] = {}
    for name, items in entries.items():
        for tensor, listed in _tensors_of(name, items):
            encodings[tensor] = _read_entries(listed, f"{source}: {kind} '{tensor}'", kind == "param")
    return encodings


def _tensors_of(name: str, items: Any) -> list[tuple[str, Any]]:
    """(tensor name, entry list) pairs: one for a plain entry, one a port for a module-keyed entry."""
    if not isinstance(items, dict):
        return [(name, items)]
    if not all(isinstance(by_index, dict) for by_index in items.values()):
        raise EncodingError(f"'{name}' has neither a list of encodings nor ports with lists; export the file again")
    ports = [(side, index, entry) for side, by_index in items.items() for index, entry in by_index.items()]
    return [(f"{name}.{side}[{index}]", entry if isinstance(entry, list) else [entry]) for side, index, entry in ports]


def _read_entries(items: Any, where: str, is_param: bool) -> Encoding:
    if not isinstance(items, list) or not items:
        raise EncodingError(f"{where} has no encodings in its list; export the file again")
    entries = [fields.entry_of(item, where) for item in items]
    first = entries[0]
    bits = fields.bit_width(first, "bitwidth", where)
    if fields.is_float(first, where):
        return float_encoding(bits)
    symmetric = fields.flag(first.get("is_symmetric", is_param), "is_symmetric", where)
    pairs = [_scale_and_offset(entry, bits, where) for entry in entries]
    scale = fields.numbers([s for s, _ in pairs], "scale", where)
    offset = fields.numbers([o for _, o in pairs], "offset", where)
    if len(entries) == 1:
        grid = fields.integer_grid(where, bits, is_param and symmetric, symmetric, PerTensor())
        return fields.int_encoding(where, grid, scale[0], offset[0])
    grid = fields.integer_grid(where, bits, is_param and symmetric, symmetric, PerChannel(0))
    return fields.int_encoding(where, grid, scale, offset)


def _scale_and_offset(entry: Mapping[str, Any], bits: int, where: str) -> tuple[Any, Any]:
    if "scale" not in entry and "min" in entry and "max" in entry:
        low, high = (fields.numbers(entry[key], key, where) for key in ("min", "max"))
        if low.numel() != 1 or high.numel() != 1:
            raise EncodingError(f"{where}: 'min' and 'max' are not one number each; export the file again")
        return fields.from_min_max(where, float(low), float(high), bits)
    return fields.require(entry, "scale", where), fields.require(entry, "offset", where)


def write_section(encodings: Mapping[str, Encoding]) -> dict[str, list[dict[str, Any]]]:
    """The JSON value of ``param_encodings`` or ``activation_encodings``."""
    return {name: _write_entries(encoding) for name, encoding in encodings.items()}


def _write_entries(encoding: Encoding) -> list[dict[str, Any]]:
    grid = encoding.grid
    if grid.is_float:
        return [{"bitwidth": grid.bits, "dtype": "float"}]
    step = encoding.step
    offset = _offset_like(encoding, step)
    low = offset * step
    high = (offset + (grid.levels - 1)) * step
    rows = zip(*(t.double().flatten().tolist() for t in (step, offset, low, high)))
    return [_entry(grid, scale, int(o), mn, mx) for scale, o, mn, mx in rows]


def _offset_like(encoding: Encoding, step: Tensor) -> Tensor:
    if isinstance(encoding.grid.granularity, Lpbq):
        return encoding.offset[:, None].expand_as(step)
    return torch.broadcast_to(encoding.offset, step.shape)


def _entry(grid: Grid, scale: float, offset: int, low: float, high: float) -> dict[str, Any]:
    head = {"bitwidth": grid.bits, "dtype": "int", "is_symmetric": str(grid.symmetric)}
    return head | {"max": high, "min": low, "offset": offset, "scale": scale}
