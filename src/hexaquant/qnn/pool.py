"""A runtime that opens with its first item: where all outputs may be known already, no process starts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType

from hexaquant.qnn.request_queue import Outputs
from hexaquant.qnn.runtime import Runtime, default_workers
from hexaquant.qnn.tensor_io import Inputs


class Pool:
    """A Runtime of one binary whose items are answered in order; opened by the first item. A context manager.

    ``workers`` and ``soc`` as in Runtime; ``size``: so many items at a time keep all workers busy.
    """

    def __init__(self, path: str | Path, *, workers: int | None = None, soc: int | None = None) -> None:
        self._open = partial(Runtime, path, workers=workers, soc=soc)
        self._runtime: Runtime | None = None
        self.size = 4 * (workers or default_workers())

    def map(self, items: Iterable[Inputs]) -> Iterator[Outputs]:
        """Outputs in the order of ``items``, as Runtime.map."""
        left = iter(items)
        for first in left:
            if self._runtime is None:
                self._runtime = self._open()
            yield from self._runtime.map(itertools.chain([first], left))

    def close(self) -> None:
        """End all processes; waiting items fail."""
        if self._runtime is not None:
            self._runtime.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
