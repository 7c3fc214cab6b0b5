"""A ``.tflite`` file as plain data: subgraphs of tensors and operators. Nothing is converted here.

Sparse tensors come out dense, 4-bit ones unpacked. Everything else is as in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from hexaquant.frontends.tflite.flatbuffer import DamagedFile, Table
from hexaquant.frontends.tflite.schema import OPERATORS, OPTIONS, TYPES
from hexaquant.frontends.tflite.sparse import Level, Sparsity, densify

LARGEST = 2**33
"""Bytes that one tensor may have; a file that claims more is damaged."""
PACKED = {"int4": (4, ml_dtypes.int4), "uint4": (4, ml_dtypes.uint4), "int2": (2, ml_dtypes.int2)}
"""Types with several numbers in a byte, low bits first."""


@dataclass(frozen=True)
class Quantization:
    """``scale`` and ``zero`` have one entry, one a channel of ``axis``, or are arrays with one a ``block`` of it."""

    scale: np.ndarray
    zero: np.ndarray
    axis: int = 0
    block: int = 0


@dataclass(frozen=True)
class Tensor:
    """``shape`` has -1 where a size is free; ``kind`` is numpy's name of the type; ``data`` is None if computed."""

    name: str
    shape: tuple[int, ...]
    kind: str
    data: np.ndarray | None = None
    quantization: Quantization | None = None
    variable: bool = False


@dataclass(frozen=True)
class Operator:
    """``kind``: CONV_2D ..., or the name of a custom operator. ``inputs`` are indices of tensors, -1 if absent."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]
    custom: bytes | None = None


@dataclass(frozen=True)
class Subgraph:
    tensors: Sequence[Tensor]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: Sequence[Operator]


def read_subgraphs(data: bytes) -> list[Subgraph]:
    """The subgraphs of a file; the first one is the network. Raises DamagedFile."""
    model = Table.root(data)
    codes = [_code(table) for table in model.tables(1)]
    buffers = model.tables(4)
    return [_subgraph(table, codes, buffers) for table in model.tables(2)]


def _code(table: Table) -> str:
    """Files older than 2020 have only the first number, whose end is 127."""
    number = max(table.integer(0, "b"), table.integer(3))
    custom = table.text(1)
    if custom:
        return custom
    return OPERATORS[number] if 0 <= number < len(OPERATORS) else f"operator {number}"


def _subgraph(table: Table, codes: Sequence[str], buffers: Sequence[Table]) -> Subgraph:
    tables = table.tables(0)
    tensors = [_tensor(tensor, tables, buffers) for tensor in tables]
    operators = [_operator(operator, codes) for operator in table.tables(3)]
    ports = [_indices(table, field) for field in (1, 2)]
    for index in [*ports[0], *ports[1], *(i for op in operators for i in (*op.inputs, *op.outputs) if i != -1)]:
        if not 0 <= index < len(tensors):
            raise DamagedFile(f"there is no tensor {index}")
    return Subgraph(tensors, ports[0], ports[1], operators)


def _indices(table: Table, field: int) -> tuple[int, ...]:
    found = table.numbers(field, "i4")
    return () if found is None else tuple(int(i) for i in found)


def _operator(table: Table, codes: Sequence[str]) -> Operator:
    code = table.integer(0, "I")
    if code >= len(codes):
        raise DamagedFile(f"there is no operator code {code}")
    kind = codes[code]
    custom = table.numbers(5, "u1")
    options = _options(kind, table.table(4))
    raw = None if custom is None else custom.tobytes()
    return Operator(kind, _indices(table, 1), _indices(table, 2), options, raw)


def _options(kind: str, table: Table | None) -> dict[str, Any]:
    """The options of an operator by name; empty where it has none."""
    found: dict[str, Any] = {}
    for field, text in enumerate(OPTIONS.get(kind, "").split() if table is not None else ()):
        assert table is not None
        name, _, rest = text.partition(":")
        form, _, default = rest.partition("=")
        if form == "ints":
            found[name] = _indices(table, field)
        elif form == "text":
            found[name] = table.text(field)
        elif form == "f":
            found[name] = float(table.number(field, form, float(default or 0)))
        else:
            found[name] = table.integer(field, form, int(default or 0))
    return found


def _tensor(table: Table, tables: Sequence[Table], buffers: Sequence[Table]) -> Tensor:
    name = table.text(3)
    shape = _indices(table, 0)
    signature = _indices(table, 7)
    number = table.integer(1, "b")
    kind = TYPES[number] if 0 <= number < len(TYPES) else f"type {number}"
    data = _data(table, buffers, shape, kind, name)
    if data is None and len(signature) == len(shape):
        shape = signature
    quantization = _quantization(table.table(4), tables, buffers, name)
    return Tensor(name, shape, kind, data, quantization, bool(table.integer(5, "?")))


def _data(table: Table, buffers: Sequence[Table], shape: Sequence[int], kind: str, name: str) -> np.ndarray | None:
    raw = _bytes(table.integer(2, "I"), buffers)
    if raw is None or kind in ("string", "resource", "variant"):
        return None
    if min(shape, default=0) < 0 or int(np.prod(shape, dtype=np.float64)) > LARGEST:
        raise DamagedFile(f"tensor '{name}' claims the shape {list(shape)}")
    values = _numbers(raw, kind, name)
    sparsity = table.table(6)
    if sparsity is not None:
        return densify(values, shape, _sparsity(sparsity))
    count = int(np.prod(shape, dtype=np.int64))
    if values.size < count or (values.size > count and kind not in PACKED):
        raise DamagedFile(f"tensor '{name}' has {values.size} numbers for the shape {list(shape)}")
    return values[:count].reshape(shape)


def _bytes(index: int, buffers: Sequence[Table]) -> np.ndarray | None:
    """The bytes of a buffer: in it, or (files over 2 GB) at an offset in the file; None for an empty one."""
    if index >= len(buffers):
        raise DamagedFile(f"there is no buffer {index}")
    buffer = buffers[index]
    offset = int(buffer.number(1, "Q", 0))
    size = int(buffer.number(2, "Q", 0))
    if offset > 1:
        if offset + size > len(buffer.data):
            raise DamagedFile(f"buffer {index} ends outside the file")
        return np.frombuffer(buffer.data, np.uint8, size, offset)
    raw = buffer.numbers(0, "u1")
    return raw if raw is not None and raw.size else None


def _numbers(raw: np.ndarray, kind: str, name: str) -> np.ndarray:
    if kind in PACKED:
        bits, dtype = PACKED[kind]
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        parts = (raw[:, None] >> shifts) & (2**bits - 1)
        wide = parts.reshape(-1).astype(np.int8)
        return (np.where(wide >= 2 ** (bits - 1), wide - 2**bits, wide) if kind[0] == "i" else wide).astype(dtype)
    dtype = np.dtype(ml_dtypes.bfloat16) if kind == "bfloat16" else np.dtype(kind)
    if raw.size % dtype.itemsize:
        raise DamagedFile(f"tensor '{name}' has {raw.size} bytes of {kind}")
    return raw.view(dtype) if raw.flags.aligned else raw.copy().view(dtype)


VECTORS = {1: "i4", 2: "u2", 3: "u1"}
"""Types of the vectors in a sparse level, by number."""


def _sparsity(table: Table) -> Sparsity:
    levels = [_level(level) for level in table.tables(2)]
    return Sparsity(_indices(table, 0), _indices(table, 1), levels)


def _level(table: Table) -> Level:
    size = table.integer(1)
    if not table.integer(0, "b"):
        if size < 0:
            raise DamagedFile("a sparse tensor has a level of negative size")
        return Level(size)
    return Level(size, _level_vector(table, 2), _level_vector(table, 4))


def _level_vector(table: Table, field: int) -> np.ndarray:
    kind = table.integer(field, "B")
    vector = table.table(field + 1)
    found = vector.numbers(0, VECTORS[kind]) if vector is not None and kind in VECTORS else None
    if found is None:
        raise DamagedFile("a sparse tensor has a level without indices")
    return found


BLOCKWISE = 2
"""The number of BlockwiseQuantization among the details of a quantization."""


def _quantization(
    table: Table | None, tables: Sequence[Table], buffers: Sequence[Table], name: str
) -> Quantization | None:
    """None for a tensor that has no scale (it may still state a range)."""
    if table is None:
        return None
    details = table.table(5) if table.integer(4, "B") == BLOCKWISE else None
    if details is not None:
        return _blocked(details, tables, buffers, name)
    scale = table.numbers(2, "f4")
    if scale is None or not scale.size:
        return None
    zero = table.numbers(3, "i8")
    if zero is None or not zero.size:
        zero = np.zeros(scale.size, np.int64)
    if zero.size not in (1, scale.size):
        raise DamagedFile(f"tensor '{name}' has {scale.size} scales and {zero.size} zero points")
    return Quantization(scale, np.broadcast_to(zero, scale.shape), table.integer(6))


def _blocked(details: Table, tables: Sequence[Table], buffers: Sequence[Table], name: str) -> Quantization:
    """Scales and zero points in tensors of their own, one for each block of the last axis."""
    index = details.integer(0)
    block = details.integer(2)
    if not 0 <= index < len(tables) or block < 1:
        raise DamagedFile(f"tensor '{name}' has scales by blocks of {block} in tensor {index}")
    found = _tensor(tables[index], [], buffers).data
    if found is None:
        raise DamagedFile(f"tensor '{name}' has scales by blocks that are not constants")
    scale = found.astype(np.float32)
    where = details.integer(1, "i", -1)
    zero = _tensor(tables[where], [], buffers).data if 0 < where < len(tables) else None
    shift = np.zeros(scale.shape, np.int64) if zero is None else np.broadcast_to(zero.astype(np.int64), scale.shape)
    return Quantization(scale, shift, max(scale.ndim - 1, 0), block)
