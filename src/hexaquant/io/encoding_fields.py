"""Checked access to the fields of a JSON encoding entry, shared by the readers of all AIMET versions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import EncodingError
from hexaquant.core.grid import Granularity, Grid, PerTensor

BIAS_BITS = 32
"""Biases are int32; AIMET writes them only in version 2."""


def entry_of(value: Any, where: str) -> Mapping[str, Any]:
    """``value`` as a JSON object. Raises EncodingError naming ``where`` otherwise."""
    if not isinstance(value, dict):
        raise EncodingError(f"{where} is a {type(value).__name__} where an object was expected; export it again")
    return value


def require(entry: Mapping[str, Any], key: str, where: str) -> Any:
    """``entry[key]``. Raises EncodingError naming the tensor when the key is missing."""
    if key not in entry:
        raise EncodingError(f"{where} has no '{key}'; the file is incomplete, export it again")
    return entry[key]


def whole(value: Any, key: str, where: str) -> int:
    """``value`` as an int. AIMET writes integers also as floats (-128.0)."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (value == value // 1 and abs(value) < 2**63)
    ):
        raise EncodingError(f"{where}: '{key}' is {value!r}, not an integer")
    return int(value)


def is_float(entry: Mapping[str, Any], where: str) -> bool:
    """Whether the entry's "dtype" is float and not int, in any case. Raises EncodingError for others."""
    dtype = entry.get("dtype", "int")
    if not isinstance(dtype, str) or dtype.lower() not in ("int", "float"):
        raise EncodingError(f"{where}: 'dtype' is {dtype!r}, not int or float")
    return dtype.lower() == "float"


def bit_width(entry: Mapping[str, Any], key: str, where: str) -> int:
    """The bits of an entry, 2 to 32. Raises EncodingError for others, before anything of that size is computed."""
    bits = whole(require(entry, key, where), key, where)
    if not 2 <= bits <= 32:
        raise EncodingError(f"{where}: '{key}' is {bits}, but encodings have 2 to 32 bits; export it again")
    return bits


def flag(value: Any, key: str, where: str) -> bool:
    """``value`` as a bool; version 0.6.1 writes the strings "True" and "False"."""
    known = {True: True, False: False, "True": True, "False": False, "true": True, "false": False}
    if isinstance(value, bool | str) and value in known:
        return known[value]
    raise EncodingError(f"{where}: '{key}' is {value!r}, not true or false")


def numbers(value: Any, key: str, where: str) -> Tensor:
    """A number or (nested) list of numbers as a float32 tensor of the same shape.

    Raises EncodingError on NaN, infinities, strings, ragged lists and values outside float32.
    """
    try:
        if not _only_numbers(value):
            raise TypeError
        tensor = torch.tensor(value, dtype=torch.float64)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        raise EncodingError(f"{where}: '{key}' is not a number or a regular list of numbers") from None
    if not bool(torch.isfinite(tensor.float()).all()):
        raise EncodingError(f"{where}: '{key}' holds NaN or infinity; calibrate again")
    return tensor.float()


def _only_numbers(value: Any) -> bool:
    """JSON numbers and (nested) lists of them: true is none of them."""
    if isinstance(value, list):
        return all(map(_only_numbers, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def int_encoding(where: str, grid: Grid, scale: Tensor, offset: Tensor, block_scale: Tensor | None = None) -> Encoding:
    """Encoding from file values, checked: same count, scales positive, offsets integers in -(2^bits - 1) .. 0."""
    if scale.shape != offset.shape:
        raise EncodingError(f"{where}: {scale.numel()} scales but {offset.numel()} offsets")
    if scale.numel() == 0:
        raise EncodingError(f"{where}: the list of scales is empty")
    if bool((scale <= 0).any()):
        raise EncodingError(f"{where}: a scale is zero, negative or too small for float32; calibrate again")
    if not bool(torch.isfinite(scale * float(grid.levels)).all()):
        raise EncodingError(f"{where}: a scale is so large that values leave float32; calibrate again")
    if bool((offset != offset.round()).any()) or bool((offset > 0).any()) or bool((offset < 1 - grid.levels).any()):
        raise EncodingError(f"{where}: an offset is not an integer in {1 - grid.levels} .. 0 ({grid.bits} bits)")
    return Encoding(grid, scale, offset, block_scale)


def integer_grid(where: str, bits: int, signed: bool, symmetric: bool, granularity: Granularity | None = None) -> Grid:
    """An integer grid. Raises EncodingError naming ``where`` on a bit width that no grid has."""
    try:
        return Grid(bits, signed, symmetric, granularity or PerTensor())
    except EncodingError as error:
        raise EncodingError(f"{where}: {error}") from None


def from_min_max(where: str, low: float, high: float, bits: int) -> tuple[float, float]:
    """(scale, offset) of an entry that states only its range, as hand-written overrides do."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        raise EncodingError(f"{where}: the range {low} .. {high} is empty or not finite")
    scale = (high - low) / (2**bits - 1)
    return scale, float(round(low / scale))


def listed(tensor: Tensor) -> list[Any]:
    """Values as (nested) Python floats, which JSON writes with enough digits to give the same float32 back."""
    result: list[Any] = tensor.detach().double().tolist()
    return result


def is_bias(encoding: Encoding) -> bool:
    """True for the int32 grid of a bias."""
    return not encoding.grid.is_float and encoding.grid.bits == BIAS_BITS
