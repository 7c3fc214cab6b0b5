"""Inputs and outputs of a compiled graph: checks of what the user gives, float to native and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hexaquant.core.errors import InputError
from hexaquant.qnn.describe import DTYPES
from hexaquant.qnn.records import TensorInfo

# numpy types of QNN's tensor types.

_OTHER = {
    "sfixed4": np.int8,
    "sfixed8": np.int8,
    "sfixed16": np.int16,
    "sfixed32": np.int32,
    "ufixed4": np.uint8,
    "ufixed8": np.uint8,
    "ufixed16": np.uint16,
    "ufixed32": np.uint32,
    "bool": np.uint8,
}


def numpy_dtype(name: str) -> np.dtype:
    """The numpy type in which tensors of the QNN type ``name`` (records.TensorInfo.dtype) are stored."""
    return np.dtype(_OTHER.get(name, name))


NATIVE_DTYPES = {code: numpy_dtype(name) for code, name in DTYPES.items() if name != "bfloat16"}
"""Qnn_DataType_t -> numpy type."""


Inputs = Mapping[str, npt.ArrayLike] | Sequence[npt.ArrayLike] | npt.ArrayLike
"""What a caller may hand in: arrays by name, a list in graph order, or the array of the only input."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: ``dtype`` is the stored numpy type; x = (q + offset) * scale where ``scale`` is set.

    ``lowered``: its name in the binary, where it has another there.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float | None = None
    offset: int = 0
    lowered: str = ""

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"'{self.name}' {self.dtype}{list(self.shape)}"


def spec_of(tensor: TensorInfo) -> TensorSpec:
    """The spec of a tensor in the metadata of a context binary."""
    quant = tensor.quant
    if quant is None:
        return TensorSpec(tensor.name, tensor.shape, numpy_dtype(tensor.dtype))
    return TensorSpec(tensor.name, tensor.shape, numpy_dtype(tensor.dtype), quant.scales[0], quant.offsets[0])


def ordered_specs(tensors: Sequence[TensorInfo], names: Sequence[Sequence[str]]) -> list[TensorSpec]:
    """Specs of ``tensors`` in the order of ``names`` ([user's name, name in the binary]) and under the user's names.

    Names that do not cover the tensors exactly belong to another model: the binary's own names and order stay.
    """
    specs = {tensor.name: spec_of(tensor) for tensor in tensors}
    if {lowered for _, lowered in names} != set(specs):
        return list(specs.values())
    return [replace(specs[lowered], name=name, lowered=lowered) for name, lowered in names]


def to_native(values: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Float ``values`` on the grid of ``spec``: round half to even, then clip, as core.grid.quantize does."""
    if spec.scale is None:
        return values.astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    with np.errstate(over="ignore"):
        q = np.rint(values.astype(np.float32) / np.float32(spec.scale)) - np.float32(spec.offset)
    return np.clip(q, limits.min, limits.max).astype(spec.dtype)


def to_float(stored: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Real values, float32, of ``stored``; integers without an encoding stay as they are."""
    if spec.scale is not None:
        return (stored.astype(np.float32) + np.float32(spec.offset)) * np.float32(spec.scale)
    return stored.astype(np.float32) if stored.dtype == np.float16 else stored


def bind_inputs(
    given: Mapping[str, npt.ArrayLike] | Sequence[npt.ArrayLike] | npt.ArrayLike, specs: Sequence[TensorSpec]
) -> dict[str, np.ndarray]:
    """Arrays by input name, from a mapping, a sequence in graph order, or the array of the only input.

    Raises InputError naming what the graph takes when names or number do not fit.
    """
    takes = ", ".join(str(spec) for spec in specs)
    if not isinstance(given, Mapping):
        arrays = list(given) if isinstance(given, (list, tuple)) and len(specs) > 1 else [given]
        if len(arrays) != len(specs):
            raise InputError(f"{len(arrays)} inputs were given but the graph takes {len(specs)}: {takes}")
        return {spec.name: np.asarray(array) for spec, array in zip(specs, arrays)}
    names = {spec.name for spec in specs}
    for name in given:
        if name not in names:
            raise InputError(f"the graph has no input '{name}': it takes {takes}")
    for spec in specs:
        if spec.name not in given:
            raise InputError(f"input '{spec.name}' is missing: the graph takes {takes}")
    return {spec.name: np.asarray(given[spec.name]) for spec in specs}


def batch_factor(arrays: Mapping[str, np.ndarray], specs: Sequence[TensorSpec]) -> int:
    """How many runs of the compiled graph the arrays hold along their first axis.

    Raises InputError for shapes that are no multiple of the compiled ones.
    """
    factors = set()
    for spec in specs:
        shape = arrays[spec.name].shape
        fits = len(shape) == len(spec.shape) and shape[1:] == spec.shape[1:]
        if shape == spec.shape:
            factors.add(1)
        elif not fits or not shape or shape[0] == 0 or shape[0] % spec.shape[0]:
            raise InputError(f"input '{spec.name}' has shape {list(shape)}, the graph takes {list(spec.shape)}")
        else:
            factors.add(shape[0] // spec.shape[0])
    if len(factors) != 1:
        raise InputError(f"the inputs hold different numbers of items: {sorted(factors)} times the compiled shapes")
    return factors.pop()


def prepare(array: np.ndarray, spec: TensorSpec, float_io: bool) -> np.ndarray:
    """``array`` as the graph stores it. Raises InputError for types or values that do not fit."""
    if array.dtype == object or array.dtype.kind not in "biuf":
        raise InputError(f"input '{spec.name}' has dtype {array.dtype}, the graph takes numbers ({spec})")
    if array.dtype.kind in "iub" and (spec.dtype.kind == "f" or (spec.scale is not None and float_io)):
        raise InputError(
            f"input '{spec.name}' is {array.dtype} but the model wants float32; convert (and scale) the data as for "
            "calibration"
        )
    if spec.scale is not None and float_io:
        _require_finite(array, spec, saturates=True)
        return np.ascontiguousarray(to_native(array, spec))
    if spec.dtype.kind == "f":
        _require_finite(array, spec)
        return np.ascontiguousarray(array.astype(spec.dtype))
    if array.dtype.kind == "f":
        raise InputError(f"input '{spec.name}' has dtype {array.dtype}, the graph takes integers ({spec})")
    limits = np.iinfo(spec.dtype)
    if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
        raise InputError(f"input '{spec.name}' holds values outside of {spec.dtype}")
    return np.ascontiguousarray(array.astype(spec.dtype))


def _require_finite(array: np.ndarray, spec: TensorSpec, saturates: bool = False) -> None:
    """``saturates``: -inf (an attention mask) ends at the smallest value of the grid, as every number below it does."""
    known = np.isfinite(array) | np.isneginf(array) if saturates else np.isfinite(array)
    if array.dtype.kind == "f" and not known.all():
        raise InputError(f"input '{spec.name}' holds NaN or infinite values: check the preprocessing")
