"""Runs many inputs through a context binary with one process a core, in order, lazily."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hexaquant.core.events import Events
from hexaquant.qnn.request_queue import Outputs
from hexaquant.qnn.runtime import Runtime, available_cores
from hexaquant.qnn.tensor_io import Inputs

ATTEMPTS = 2
"""How often an item is tried whose process dies: once more, in case it was another's fault."""


@dataclass(frozen=True)
class PoolOptions:
    """``workers`` None: one for each core that this process may use. The rest as in Runtime."""

    workers: int | None = None
    timeout_s: float | None = None
    float_io: bool = True
    soc: int | None = None
    graph: str | None = None

    @property
    def size(self) -> int:
        return self.workers or available_cores()


def run_many(
    path: str | Path,
    items: Iterable[Inputs],
    options: PoolOptions | None = None,
    *,
    events: Events | None = None,
    total: int | None = None,
) -> Generator[Outputs, None, None]:
    """Yield the outputs of each item of ``items`` in order; items are taken only as workers come free.

    A worker that dies or hangs is replaced and its item tried once more; the second failure is raised
    (WorkerError naming the item). Stopping the iteration ends all processes. Progress goes to ``events`` as task
    "execute".
    """
    options = options or PoolOptions()
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Pool(path, options) as pool:
        yield from (events or Events()).track(pool.map(items), "execute", total)


class Pool:
    """A Runtime of one binary whose items are answered in order; opened by the first item. A context manager."""

    def __init__(self, path: str | Path, options: PoolOptions) -> None:
        self._path, self._options = path, options
        self._runtime: Runtime | None = None

    def map(self, items: Iterable[Inputs]) -> Iterator[Outputs]:
        """Outputs in the order of ``items``; at most one item a worker waits beyond those that run."""
        left = iter(items)
        for first in left:
            waiting = 2 * self._options.size
            yield from self._opened().map(itertools.chain([first], left), ahead=waiting - 1, attempts=ATTEMPTS)

    def _opened(self) -> Runtime:
        if self._runtime is None:
            options = self._options
            self._runtime = Runtime(
                self._path,
                workers=options.size,
                queue_size=2 * options.size,
                timeout_s=options.timeout_s,
                float_io=options.float_io,
                soc=options.soc,
                graph=options.graph,
            )
        return self._runtime

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
