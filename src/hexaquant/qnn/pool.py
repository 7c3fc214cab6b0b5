"""Runs many inputs through a context binary with one process a core, in order, lazily."""

from __future__ import annotations

import os
import queue
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from hexaquant.core.errors import WorkerError
from hexaquant.core.events import Events
from hexaquant.qnn.runtime import Inputs, Runtime


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


def available_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_many(
    path: str | Path,
    items: Iterable[Inputs],
    options: PoolOptions | None = None,
    *,
    events: Events | None = None,
    total: int | None = None,
) -> Iterator[dict[str, np.ndarray]]:
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
    """``options.size`` runtimes of one binary, started on first use; use it as a context manager."""

    def __init__(self, path: str | Path, options: PoolOptions) -> None:
        self._path, self._options = Path(path), options
        self._idle: queue.LifoQueue[Runtime | None] = queue.LifoQueue()
        for _ in range(options.size):
            self._idle.put(None)
        self._live: set[Runtime] = set()
        self._threads = ThreadPoolExecutor(options.size, thread_name_prefix="hexaquant-pool")
        self._closed = False

    def map(self, items: Iterable[Inputs]) -> Iterator[dict[str, np.ndarray]]:
        """Outputs in the order of ``items``; at most one item a worker waits beyond those that run."""
        pending: deque[Future[dict[str, np.ndarray]]] = deque()
        for index, item in enumerate(items):
            pending.append(self._threads.submit(self._run, index, item))
            if len(pending) >= 2 * self._options.size:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _run(self, index: int, item: Inputs) -> dict[str, np.ndarray]:
        runtime = self._idle.get()
        try:
            for attempt in (1, 2):
                runtime = runtime or self._start()
                try:
                    return runtime.run(item)
                except WorkerError as error:
                    self._drop(runtime)
                    runtime = None
                    if attempt == 2 or self._closed:
                        raise WorkerError(f"item {index}: {error} (tried {attempt} times)") from error
            raise AssertionError("unreachable")
        finally:
            self._idle.put(runtime)

    def _start(self) -> Runtime:
        options = self._options
        runtime = Runtime(
            self._path, timeout_s=options.timeout_s, float_io=options.float_io, soc=options.soc, graph=options.graph
        )
        self._live.add(runtime)
        if self._closed:
            self._drop(runtime)
            raise WorkerError("the pool is closed")
        return runtime

    def _drop(self, runtime: Runtime) -> None:
        runtime.close()
        self._live.discard(runtime)

    def close(self) -> None:
        """End all processes and threads; waiting items fail."""
        self._closed = True
        for runtime in list(self._live):
            self._drop(runtime)
        self._threads.shutdown(wait=True, cancel_futures=True)
        for runtime in list(self._live):
            self._drop(runtime)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
