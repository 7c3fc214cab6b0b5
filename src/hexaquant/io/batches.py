"""From what users iterate over to checked batches: ``dict[input name, array]``, labels apart."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hexaquant.core.errors import InputError
from hexaquant.io.input_lines import wrong_names
from hexaquant.ir.input_spec import InputSpec, joined, sample_count, samples_of_a_run, take

Array = npt.NDArray[Any]
Batch = dict[str, Array]
Labelled = tuple[Batch, Array | None]

LABEL_KEYS = ("labels", "label", "y", "targets", "target")
"""Keys of a dict or .npz that hold labels, unless an input has that name."""


def batches_of(items: Iterable[Any], specs: Sequence[InputSpec], source: str) -> Iterator[Labelled]:
    """Checked batches of ``items``: arrays, tuples (inputs in graph order, then perhaps labels) or dicts by name.

    Where every input is fed whole and takes several rows, items of other sizes are joined to what a run takes. Raises
    InputError naming the item's index and the input when names, dtype or shape do not fit or a value is NaN or
    infinite, and when the last rows do not fill a run.
    """
    waiting = Rows(specs)
    needed = rows_of_a_run(specs)
    for index, item in enumerate(items):
        where = f"item {index} of {source}"
        arrays, labels = _by_name(item, specs, where)
        if needed and (waiting.count or not is_whole(arrays, specs)):
            waiting.add(cut(arrays, labels, waiting.specs, where).part())
            yield from waiting.full(needed)
            continue
        yield from cut(arrays, labels, specs, where)
    if waiting.count:
        raise InputError(
            f"{source}: the last {waiting.count} of the samples do not fill the model's batch of {needed}; "
            f"give a multiple of {needed} samples, or load the model with a dynamic batch and compile it for 1"
        )


def _by_name(item: Any, specs: Sequence[InputSpec], where: str) -> tuple[dict[str, Any], Any]:
    """(input name -> value, labels or None) of one item."""
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Mapping):
        item = {**item[0], _label_key(specs): item[1]}
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], tuple | list) and len(item[0]) == len(specs):
        item = (*item[0], item[1])
    if isinstance(item, Mapping):
        return _of_mapping(item, specs, where)
    values = list(item) if isinstance(item, tuple | list) and not _is_number_list(item) else [item]
    needed = [spec for spec in specs if spec.state_of is None]
    if len(values) in (len(needed), len(needed) + 1) and len(values) < len(specs):
        given, labels = _by_name(tuple(values), needed, where)
        return given | first_states(specs, given), labels
    if len(values) not in (len(specs), len(specs) + 1):
        names = ", ".join(s.name for s in specs)
        raise InputError(
            f"{where} has {len(values)} values but the model has {len(specs)} inputs ({names}); "
            "give one value per input, and labels last if there are any"
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
    item = first_states(specs, item) | dict(item)
    missing = [n for n in names if n not in item]
    if missing or unknown:
        raise InputError(wrong_names(missing, unknown, names, where))
    labels = next((item[k] for k in LABEL_KEYS if k in item and k not in names), None)
    return {n: item[n] for n in names}, labels


def first_states(specs: Sequence[InputSpec], given: Container[str] = ()) -> dict[str, Any]:
    """Zeros for the states that data need not give: the value before the first sample.

    Raises InputError when a dimension of one is free.
    """
    wanted = [spec for spec in specs if spec.state_of is not None and spec.name not in given]
    return {s.name: np.zeros(s.static_sample_shape(), s.dtype) for s in wanted}


@dataclass(frozen=True)
class Cut:
    """Samples in the arrays of an item, none of them copied yet.

    ``arrays``: by input, samples along the input's batch axis, or an array (N, *shape) of N samples of an input without
    one, or, of ``shared`` inputs, the one array of all samples. ``labels``: (N * k, ...) of k a sample, or None.
    """

    specs: tuple[InputSpec, ...]
    arrays: Batch
    labels: Array | None
    count: int
    shared: frozenset[str]
    where: str

    def part(self, start: int = 0, stop: int | None = None) -> Labelled:
        """The samples from ``start`` to ``stop`` as one batch, which is one sample where an input is fed whole."""
        stop = self.count if stop is None else stop
        batch = {spec.name: checked(self._of(spec, start, stop), spec, self.where) for spec in self.specs}
        if self.labels is None:
            return batch, None
        each = len(self.labels) // self.count
        return batch, self.labels[start * each : stop * each]

    def _of(self, spec: InputSpec, start: int, stop: int) -> Array:
        array = self.arrays[spec.name]
        if spec.name in self.shared:
            return array
        return array[start] if spec.axis is None else take({spec.name: array}, [spec], slice(start, stop))[spec.name]

    def __iter__(self) -> Iterator[Labelled]:
        return self.pieces(self.count)

    def pieces(self, most: int) -> Iterator[Labelled]:
        """All samples, at most ``most`` at once; one by one where the network or the data want that."""
        own = any(not spec.batched and spec.name not in self.shared for spec in self.specs)
        step = 1 if own or samples_of_a_run(self.specs) == 1 else most
        return (self.part(start, min(start + step, self.count)) for start in range(0, self.count, step))


def cut(arrays: Mapping[str, Any], labels: Any, specs: Sequence[InputSpec], where: str) -> Cut:
    """The samples in ``arrays`` (one by input) and their ``labels``.

    An array holds samples along the input's batch axis; along an extra leading axis; one after the other along its
    first axis (of an input without a batch); or it is one sample, with its batch axis or without, which goes with all
    samples of the others where the input has no batch. Raises InputError naming the input whose shape does not fit.
    """
    found = {}
    sizes = {}
    shared = set()
    for spec in specs:
        array = as_array(arrays[spec.name])
        found[spec.name], sizes[spec.name] = _samples(array, spec, where)
        if spec.axis is None and spec.fits(array.shape):
            shared.add(spec.name)
    counts = {name: size for name, size in sizes.items() if name not in shared}
    count = next(iter(counts.values()), 1)
    for spec in specs:
        if spec.state_of is not None and spec.axis is not None and sizes[spec.name] == 1:  # that of the first sample
            found[spec.name], counts[spec.name] = np.repeat(found[spec.name], count, spec.axis), count
    if count == 0:
        raise InputError(f"{where} is empty, it has no samples; remove it")
    for name, size in counts.items():
        if size != count:
            raise InputError(f"{where}: input '{name}' has {size} samples, others have {count}; make them equal")
    return Cut(tuple(specs), found, _labels(labels, count, specs, where), count, frozenset(shared), where)


def _samples(array: Array, spec: InputSpec, where: str) -> tuple[Array, int]:
    """``array`` with its samples along the batch axis, or else along a new first one; how many there are."""
    shape = array.shape
    if spec.axis is None and spec.fits(shape):
        return array, 1
    if spec.axis is not None and spec.fits(shape):
        return array, shape[spec.axis]
    if spec.is_sample(shape):
        return np.expand_dims(array, spec.axis or 0), 1
    if shape and spec.has_leading_samples(shape):
        return array if spec.axis is None else np.moveaxis(array.take(0, spec.axis + 1), 0, spec.axis), shape[0]
    if spec.rows > 1 and shape and shape[0] % spec.rows == 0 and spec.fits((spec.rows, *shape[1:])):
        return array.reshape(-1, spec.rows, *shape[1:]), shape[0] // spec.rows
    wanted = "x".join("?" if d is None else str(d) for d in spec.shape)
    got = "x".join(map(str, shape))
    extra = "" if spec.batched else f" (one sample) or Nx{wanted}"
    raise InputError(
        f"{where}: input '{spec.name}' has shape {got} but the model wants {wanted}{extra}; reshape the data"
    )


def _labels(labels: Any, count: int, specs: Sequence[InputSpec], where: str) -> Array | None:
    if labels is None:
        return None
    array = np.atleast_1d(as_array(labels))
    if len(array) not in (count, count * (rows_of_a_run(specs) or 1)):
        raise InputError(f"{where} has {len(array)} labels for {count} samples; make them equal")
    return array


def as_array(value: Any) -> Array:
    """``value`` in numpy."""
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def rows_of_a_run(specs: Sequence[InputSpec]) -> int | None:
    """The first dimension where all inputs are fed whole and have the same: perhaps a batch that was exported fixed."""
    rows = {spec.rows for spec in specs}
    return next(iter(rows)) if len(rows) == 1 and rows != {1} else None


def is_whole(arrays: Mapping[str, Any], specs: Sequence[InputSpec]) -> bool:
    """False when every array holds rows that make no whole number of runs."""
    shapes = [np.shape(arrays[spec.name]) for spec in specs]
    return not all(
        spec.fits((spec.rows, *shape)) or (spec.fits((spec.rows, *shape[1:])) and shape[0] % spec.rows)
        for spec, shape in zip(specs, shapes, strict=True)
        if shape
    )


class Rows:
    """Rows of inputs that are fed whole, until they fill a run."""

    def __init__(self, specs: Sequence[InputSpec]) -> None:
        self.specs = tuple(replace(spec, axis=0) for spec in specs)
        self._parts: list[Labelled] = []

    @property
    def count(self) -> int:
        return sum(sample_count(batch, self.specs) for batch, _ in self._parts)

    def add(self, part: Labelled) -> None:
        self._parts.append(part)

    def full(self, size: int) -> Iterator[Labelled]:
        """Runs of ``size`` rows, as long as there are enough."""
        if self.count < size:
            return
        pieces = list(rebatch(self._parts, self.specs, size))
        whole = self.count // size
        self._parts = pieces[whole:]
        yield from pieces[:whole]


def checked(array: Array, spec: InputSpec, where: str) -> Array:
    """``array`` in the input's dtype. Raises InputError when values change their meaning, are NaN or infinite."""
    array = _cast(array if array.flags.writeable else array.copy(), spec, where)
    if spec.floor is not None:
        array = np.maximum(array, array.dtype.type(spec.floor))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{where}: input '{spec.name}' holds NaN or infinity; remove or repair that item")
    return array


def _cast(array: Array, spec: InputSpec, where: str) -> Array:
    """To the input's dtype where that changes no meaning: float to float, integer to integer that holds it."""
    have = array.dtype
    want = spec.dtype
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


def take_labelled(batch: Batch, labels: Array | None, specs: Sequence[InputSpec], keep: Array | slice) -> Labelled:
    """The samples ``keep`` (indices or slice) of a batch and their labels; inputs without a batch axis stay whole."""
    if not any(spec.batched for spec in specs):
        return batch, labels
    return take(batch, specs, keep), None if labels is None else labels[keep]


def rebatch(parts: Iterable[Labelled], specs: Sequence[InputSpec], size: int) -> Iterator[Labelled]:
    """The same samples in batches of ``size``, smaller where an input without a batch axis changes and at the end."""
    pending: list[Labelled] = []
    waiting = 0
    for batch, labels in parts:
        if pending and not _same_whole(pending[0][0], batch, specs):
            yield _joined(pending, specs)
            pending = []
            waiting = 0
        start = 0
        count = sample_count(batch, specs)
        while start < count:
            stop = min(count, start + size - waiting)
            pending.append(take_labelled(batch, labels, specs, slice(start, stop)))
            waiting += stop - start
            start = stop
            if waiting == size:
                yield _joined(pending, specs)
                pending = []
                waiting = 0
    if pending:
        yield _joined(pending, specs)


def _same_whole(a: Batch, b: Batch, specs: Sequence[InputSpec]) -> bool:
    return all(s.batched or np.array_equal(a[s.name], b[s.name]) for s in specs)


def _joined(parts: Sequence[Labelled], specs: Sequence[InputSpec]) -> Labelled:
    if len(parts) == 1:
        return parts[0]
    labels = [part for _, part in parts if part is not None]
    batch: Batch = joined([batch for batch, _ in parts], specs)
    return batch, np.concatenate(labels) if len(labels) == len(parts) else None
