"""From what users iterate over to checked batches: ``dict[input name, array]``, labels apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hexaquant.core.errors import InputError
from hexaquant.io.input_lines import wrong_names
from hexaquant.io.input_spec import InputSpec

Array = npt.NDArray[Any]
Batch = dict[str, Array]
Labelled = tuple[Batch, Array | None]

LABEL_KEYS = ("labels", "label", "y", "targets", "target")
"""Keys of a dict or .npz that hold labels, unless an input has that name."""


def batches_of(items: Iterable[Any], specs: Sequence[InputSpec], source: str) -> Iterator[Labelled]:
    """Checked batches of ``items``: arrays, tuples (inputs in graph order, then perhaps labels) or dicts by name.

    An item without the batch dimension counts as one sample. Raises InputError naming the item's index and the
    input when names, dtype or shape do not fit or a value is NaN or infinite.
    """
    for index, item in enumerate(items):
        arrays, labels = _by_name(item, specs, f"item {index} of {source}")
        batch = {s.name: checked(arrays[s.name], s, f"item {index} of {source}") for s in specs}
        yield _consistent(batch, specs, labels, f"item {index} of {source}")


def _by_name(item: Any, specs: Sequence[InputSpec], where: str) -> tuple[dict[str, Any], Any]:
    """(input name -> value, labels or None) of one item."""
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Mapping):
        item = {**item[0], _label_key(specs): item[1]}
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], tuple | list) and len(item[0]) == len(specs):
        item = (*item[0], item[1])
    if isinstance(item, Mapping):
        return _of_mapping(item, specs, where)
    values = list(item) if isinstance(item, tuple | list) and not _is_number_list(item) else [item]
    if len(values) not in (len(specs), len(specs) + 1):
        names = ", ".join(s.name for s in specs)
        raise InputError(
            f"{where} has {len(values)} values but the model has {len(specs)} inputs ({names}); "
            "give one value an input, and labels last if there are any"
        )
    labels = values[len(specs)] if len(values) > len(specs) else None
    return {s.name: v for s, v in zip(specs, values)}, labels


def _label_key(specs: Sequence[InputSpec]) -> str:
    """A key for labels that is no input's name."""
    return next(key for key in LABEL_KEYS if key not in [s.name for s in specs])


def _is_number_list(item: Sequence[Any]) -> bool:
    return bool(item) and all(isinstance(v, int | float) for v in item)


def _of_mapping(item: Mapping[str, Any], specs: Sequence[InputSpec], where: str) -> tuple[dict[str, Any], Any]:
    names = [s.name for s in specs]
    unknown = [k for k in item if k not in names and k not in LABEL_KEYS]
    missing = [n for n in names if n not in item]
    if missing or unknown:
        raise InputError(wrong_names(missing, unknown, names, where))
    labels = next((item[k] for k in LABEL_KEYS if k in item and k not in names), None)
    return {n: item[n] for n in names}, labels


def checked(value: Any, spec: InputSpec, where: str) -> Array:
    """``value`` as an array that fits ``spec``, with a batch dimension. Raises InputError as batches_of does."""
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    array = _cast(array if array.flags.writeable else array.copy(), spec, where)
    if spec.batched and array.ndim == len(spec.sample_shape) and spec.fits((1, *array.shape)):
        array = array[None]
    if not spec.fits(array.shape):
        wanted = "x".join("?" if d is None else str(d) for d in spec.shape)
        got = "x".join(map(str, array.shape))
        raise InputError(f"{where}: input '{spec.name}' has shape {got} but the model wants {wanted}; reshape the data")
    if spec.floor is not None:
        array = np.maximum(array, array.dtype.type(spec.floor))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{where}: input '{spec.name}' holds NaN or infinity; remove or repair that item")
    return array


def _cast(array: Array, spec: InputSpec, where: str) -> Array:
    """To the input's dtype where that changes no meaning: float to float, integer to integer that holds it."""
    have, want = array.dtype, spec.dtype
    if have == want:
        return array
    if have.kind == "f" and want.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(want)
    if have.kind in "iub" and want.kind in "iub":
        cast = array.astype(want)
        if bool((cast.astype(np.int64) == array.astype(np.int64)).all()):
            return cast
    raise InputError(f"{where}: input '{spec.name}' is {have} but the model wants {want}; convert (and scale) the data")


def _consistent(batch: Batch, specs: Sequence[InputSpec], labels: Any, where: str) -> Labelled:
    """Check that all batched inputs and the labels count the same samples."""
    sizes = {s.name: len(batch[s.name]) for s in specs if s.batched}
    count = next(iter(sizes.values()), 1)
    if count == 0:
        raise InputError(f"{where} has no samples; remove it")
    for name, size in sizes.items():
        if size != count:
            raise InputError(f"{where}: input '{name}' has {size} samples, others have {count}; make them equal")
    if labels is None:
        return batch, None
    array = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    array = array[None] if array.ndim == 0 else array
    if len(array) != count:
        raise InputError(f"{where} has {len(array)} labels for {count} samples; make them equal")
    return batch, array


def sample_count(batch: Batch, specs: Sequence[InputSpec]) -> int:
    """Number of samples in ``batch``."""
    return next((len(batch[s.name]) for s in specs if s.batched), 1)


def take(batch: Batch, labels: Array | None, specs: Sequence[InputSpec], keep: Array | slice) -> Labelled:
    """The samples ``keep`` (indices or slice) of a batch; unbatched inputs stay whole."""
    kept = {s.name: batch[s.name][keep] if s.batched else batch[s.name] for s in specs}
    return kept, None if labels is None else labels[keep]


def rebatch(parts: Iterable[Labelled], specs: Sequence[InputSpec], size: int) -> Iterator[Labelled]:
    """The same samples in batches of ``size``; the last may be smaller. Unbatched inputs must not change in between."""
    pending: list[Labelled] = []
    waiting = 0
    for batch, labels in parts:
        start, count = 0, sample_count(batch, specs)
        while start < count:
            stop = min(count, start + size - waiting)
            pending.append(take(batch, labels, specs, slice(start, stop)))
            waiting += stop - start
            start = stop
            if waiting == size:
                yield _joined(pending, specs)
                pending, waiting = [], 0
    if pending:
        yield _joined(pending, specs)


def _joined(parts: Sequence[Labelled], specs: Sequence[InputSpec]) -> Labelled:
    if len(parts) == 1:
        return parts[0]
    first = parts[0][0]
    batch = {s.name: np.concatenate([b[s.name] for b, _ in parts]) if s.batched else first[s.name] for s in specs}
    labels = [part for _, part in parts if part is not None]
    return batch, np.concatenate(labels) if len(labels) == len(parts) else None
