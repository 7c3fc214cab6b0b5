"""A bounded queue of requests before several workers, each with a process of its own that may die.

A worker takes the oldest request, drops it when it was cancelled or its deadline has passed, and answers it with its
process. A process is opened when its worker first needs one and again when it has ended; the request that a process
died of fails, no other does. Workers are threads that start only when requests wait.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np

from hexaquant.core.errors import DeadlineError, OverloadError, WorkerError
from hexaquant.qnn.tensor_io import Inputs

Outputs = dict[str, np.ndarray]


class Process(Protocol):
    """What answers requests, one at a time."""

    @property
    def alive(self) -> bool: ...

    def run(self, inputs: Inputs) -> Outputs: ...

    def close(self) -> None: ...


P = TypeVar("P", bound=Process)


@dataclass(frozen=True)
class Request:
    """``deadline``: by time.monotonic(), None for never."""

    inputs: Inputs
    deadline: float | None
    future: Future[Outputs] = field(default_factory=Future)


class RequestQueue(Generic[P]):
    """At most ``size`` requests wait for ``workers`` processes of ``open_process``; ``first`` is open already."""

    def __init__(self, open_process: Callable[[], P], workers: int, size: int, first: P, name: str) -> None:
        self._open = open_process
        self._limit = workers
        self._size = size
        self._name = name
        self._waiting: deque[Request] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False
        self._spare: list[P] = [first]
        self.processes: set[P] = {first}

    def put(self, request: Request, wait: bool = True) -> None:
        """Queue ``request``. A full queue: wait for room until the deadline (DeadlineError), or raise OverloadError."""
        with self._changed:
            while len(self._waiting) >= self._size and not self._closed:
                if not wait:
                    raise OverloadError(f"{self._size} requests already wait for {self._name}: send fewer at a time")
                if not self._changed.wait(_left(request.deadline)):
                    raise DeadlineError(f"the queue of {self._name} stayed full until the request's deadline")
            if self._closed:
                raise WorkerError(f"the runtime of {self._name} is closed: make a new one")
            self._waiting.append(request)
            if len(self._waiting) > self._idle and len(self._threads) < self._limit:
                self._start_worker()
            self._changed.notify_all()

    def close(self) -> None:
        """End all processes; requests that wait or run fail with WorkerError. Safe to call twice."""
        with self._changed:
            self._closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
            processes = list(self.processes)
        for request in waiting:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(WorkerError(f"the runtime of {self._name} was closed"))
        for process in processes:
            self._drop(process)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _start_worker(self) -> None:
        thread = threading.Thread(target=self._work, daemon=True, name=f"hexaquant {self._name}")
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        process: P | None = None
        while (request := self._take()) is not None:
            process = self._answer(request, process)

    def _take(self) -> Request | None:
        with self._changed:
            self._idle += 1
            while not self._waiting and not self._closed:
                self._changed.wait()
            self._idle -= 1
            if self._closed:
                return None
            request = self._waiting.popleft()
            self._changed.notify_all()
            return request

    def _answer(self, request: Request, process: P | None) -> P | None:
        """Answer ``request`` and return the process for the next one, None when it is of no more use."""
        future = request.future
        if not future.set_running_or_notify_cancel():
            return process
        if request.deadline is not None and time.monotonic() >= request.deadline:
            future.set_exception(DeadlineError(f"a request to {self._name} waited in the queue until its deadline"))
            return process
        try:
            process = self._usable(process)
            future.set_result(process.run(request.inputs))
        except WorkerError as error:
            if process is not None:
                self._drop(process)
            future.set_exception(error)
            return None
        except Exception as error:  # the request's own fault: the process lives on
            future.set_exception(error)
        return process

    def _usable(self, process: P | None) -> P:
        if process is not None and process.alive:
            return process
        if process is not None:
            self._drop(process)
        with self._changed:
            spare = self._spare.pop() if self._spare else None
        if spare is not None:
            return self._usable(spare)
        opened = self._open()
        with self._changed:
            self.processes.add(opened)
            closed = self._closed
        if closed:
            self._drop(opened)
            raise WorkerError(f"the runtime of {self._name} was closed")
        return opened

    def _drop(self, process: P) -> None:
        process.close()
        with self._changed:
            self.processes.discard(process)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)
