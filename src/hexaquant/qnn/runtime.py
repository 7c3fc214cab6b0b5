"""Runtime: a context binary that answers many callers at once, from threads or asyncio."""

from __future__ import annotations

import asyncio
import os
import platform
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from pathlib import Path
from types import TracebackType

from hexaquant.core.errors import DeadlineError, InputError, OverloadError, WorkerError
from hexaquant.qnn.profile import Level, Stage
from hexaquant.qnn.request_queue import Outputs, Request, RequestQueue
from hexaquant.qnn.runtime_process import ProcessOptions, RuntimeProcess
from hexaquant.qnn.tensor_io import Inputs

ATTEMPTS = 2
"""How often an item of map is tried whose process dies: once more, in case it was another's fault."""
POLL_S = 0.005
"""Seconds between two looks at a full queue from asyncio, where nothing may block."""


class Runtime:
    """A compiled network ready to run; thread-safe; use it as a context manager.

    ``workers``: processes that run it at the same time, started when callers wait (None: one per core on the emulator,
    one on a device; one with ``profiling``). ``queue_size``: requests that may wait; more make callers wait
    (``submit(wait=False)``: fail). A process that dies fails the request it had and is replaced.
    ``float_io``: floats in and out, converted with the encodings in the binary; otherwise the stored integers.
    ``soc``: refuse a binary compiled for another SoC model. ``timeout_s`` bounds each execution and the start (None:
    process.child_seconds). ``graph``: which one, where the binary holds several (default: the first). ``memory_mb``:
    address space of a process. ``profiling``: what profile() shall give.
    Raises InputError for damaged or foreign binaries, WorkerError when the library crashes or takes too long.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        workers: int | None = None,
        queue_size: int = 64,
        timeout_s: float | None = None,
        float_io: bool = True,
        soc: int | None = None,
        graph: str | None = None,
        memory_mb: int = 16_000,
        profiling: Level | None = None,
    ) -> None:
        if (workers is not None and workers < 1) or queue_size < 1:
            raise InputError(
                f"a runtime needs at least one worker and room for one request, not {workers}, {queue_size}"
            )
        self.path = Path(path)
        self.float_io = float_io
        self.workers = 1 if profiling is not None else workers or default_workers()
        options = ProcessOptions(timeout_s, float_io, soc, graph, memory_mb, profiling)
        first = RuntimeProcess(path, options)
        self.info = first.info
        self.graph = first.graph
        self.inputs = first.inputs
        self.outputs = first.outputs
        opener = partial(RuntimeProcess, path, options)
        self._queue = RequestQueue(opener, self.workers, queue_size, first, self.path.name)
        self._owner = os.getpid()
        self._finalizer = weakref.finalize(self, _close_in, self._owner, self._queue)

    def run(self, inputs: Inputs, deadline_s: float | None = None) -> Outputs:
        """Outputs by name. Inputs: a mapping, a list in graph order, or the array of the only input.

        First axes that are a multiple of the compiled batch are run piece by piece and joined again.
        Raises DeadlineError when there is no answer after ``deadline_s`` seconds, InputError for inputs that do not
        fit, WorkerError when the process died; the next call has a new one.
        """
        future = self.submit(inputs, deadline_s)
        try:
            return future.result(deadline_s)
        except FutureTimeout:
            future.cancel()
            raise self._late(deadline_s) from None

    def submit(self, inputs: Inputs, deadline_s: float | None = None, *, wait: bool = True) -> Future[Outputs]:
        """Queue a request and return at once; ``cancel()`` of the result withdraws it while it waits.

        ``deadline_s``: seconds after which it fails with DeadlineError instead of being started. A full queue makes
        the caller wait, or with ``wait=False`` raises OverloadError.
        """
        if os.getpid() != self._owner:
            raise WorkerError(
                f"the runtime of {self.path.name} belongs to process {self._owner}, from which this one was forked: "
                "open a Runtime in each process"
            )
        request = Request(inputs, None if deadline_s is None else time.monotonic() + deadline_s)
        self._queue.put(request, wait)
        return request.future

    async def run_async(self, inputs: Inputs, deadline_s: float | None = None) -> Outputs:
        """As run, for asyncio: the event loop goes on meanwhile, and a cancelled task withdraws its request."""
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    try:
                        future = self.submit(inputs, deadline_s, wait=False)
                        break
                    except OverloadError:
                        await asyncio.sleep(POLL_S)
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise self._late(deadline_s) from None

    def map(self, items: Iterable[Inputs], *, ahead: int | None = None, attempts: int = ATTEMPTS) -> Iterator[Outputs]:
        """Outputs in the order of ``items``, which are taken as processes come free.

        ``ahead``: how many are taken beyond the one that is yielded (None: as many as keep every worker busy, one more
        each waiting). An item whose process dies is tried ``attempts`` times; then WorkerError names the item.
        """
        most = 2 * self.workers - 1 if ahead is None else ahead
        pending: deque[tuple[int, Inputs, Future[Outputs]]] = deque()
        for index, item in enumerate(items):
            pending.append((index, item, self.submit(item)))
            if len(pending) > most:
                yield self._result(*pending.popleft(), attempts)
        while pending:
            yield self._result(*pending.popleft(), attempts)

    def _result(self, index: int, item: Inputs, future: Future[Outputs], attempts: int) -> Outputs:
        for attempt in range(1, attempts + 1):
            try:
                return future.result()
            except WorkerError as error:
                if attempt == attempts or not self._finalizer.alive:
                    raise WorkerError(f"item {index}: {error} (tried {attempt} times)") from error
                future = self.submit(item)
        raise AssertionError("unreachable")

    def profile(self) -> tuple[Stage, ...]:
        """What was measured of loading and of every execution so far; empty without ``profiling``."""
        processes = list(self._queue.processes)
        if not processes:
            raise WorkerError(f"the runtime of {self.path.name} has no process: run something first, or make a new one")
        return processes[0].profile()

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes that are open now."""
        return [process.pid for process in list(self._queue.processes)]

    def _late(self, deadline_s: float | None) -> DeadlineError:
        return DeadlineError(
            f"{self.path.name} gave no answer within {deadline_s:g} s: raise the deadline or send fewer requests"
        )

    def close(self) -> None:
        """End all processes. Safe to call twice and from another thread (requests that wait or run then fail)."""
        self._finalizer()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _close_in(owner: int, queue: RequestQueue) -> None:
    """Close ``queue`` where it was opened: a fork has none of its threads and must not end its workers."""
    if os.getpid() == owner:
        queue.close()


def default_workers() -> int:
    """One on a device, whose NPU runs one graph at a time; on the emulator one for each core."""
    return 1 if platform.machine().lower() in ("aarch64", "arm64") else available_cores()


def available_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
