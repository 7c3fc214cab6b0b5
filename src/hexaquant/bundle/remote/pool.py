"""A device in the place of the emulator's pool: items in, outputs out, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType

import numpy as np

from hexaquant.bundle.remote.session import Session
from hexaquant.qnn.runtime import Inputs
from hexaquant.qnn.tensor_io import TensorSpec, batch_factor, bind_inputs, prepare, to_float

MOST_SAMPLES = 64
MOST_BYTES = 64 << 20
"""Of one run on the device, inputs and outputs."""


class DevicePool:
    """``session`` behind the methods of qnn.pool.Pool. ``float_io`` as in Runtime."""

    def __init__(self, session: Session, float_io: bool = True) -> None:
        self.session = session
        self._float_io = float_io
        card = session.card
        each = sum(spec.nbytes for spec in (*card.inputs, *card.outputs))
        self.name = str(session.address)
        self.size = max(1, min(MOST_SAMPLES, MOST_BYTES // max(each, 1)))

    def map(self, items: Iterable[Inputs]) -> Iterator[dict[str, np.ndarray]]:
        """Outputs in the order of ``items``; so many samples go to the device at once as ``size`` says."""
        waiting: list[list[dict[str, np.ndarray]]] = []
        for item in items:
            waiting.append(self._pieces(item))
            if sum(map(len, waiting)) >= self.size:
                yield from self._run(waiting)
                waiting = []
        if waiting:
            yield from self._run(waiting)

    def _pieces(self, item: Inputs) -> list[dict[str, np.ndarray]]:
        """The item as runs of the compiled graph, as stored."""
        specs = self.session.card.inputs
        arrays = bind_inputs(item, specs)
        count = batch_factor(arrays, specs)
        stored = {spec.name: prepare(arrays[spec.name], spec, self._float_io) for spec in specs}
        return [{spec.name: _piece(stored[spec.name], spec, i, count) for spec in specs} for i in range(count)]

    def _run(self, items: list[list[dict[str, np.ndarray]]]) -> Iterator[dict[str, np.ndarray]]:
        results = iter(self.session.run([piece for item in items for piece in item]))
        for item in items:
            parts = [next(results) for _ in item]
            joined = parts[0] if len(parts) == 1 else _concatenated(parts)
            yield {spec.name: self._outward(joined[spec.name], spec) for spec in self.session.card.outputs}

    def _outward(self, array: np.ndarray, spec: TensorSpec) -> np.ndarray:
        return to_float(array, spec) if self._float_io else array

    def __enter__(self) -> DevicePool:
        self.session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.__exit__(kind, error, trace)


def _piece(array: np.ndarray, spec: TensorSpec, index: int, count: int) -> np.ndarray:
    return array if count == 1 else array[index * spec.shape[0] : (index + 1) * spec.shape[0]]


def _concatenated(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
