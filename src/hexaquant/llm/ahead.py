"""Several loops on the target at once: each answers a sequence, the answers come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from types import TracebackType

from hexaquant.llm.loop import Loop
from hexaquant.llm.runners import Logits, logits_of


class Ahead:
    """Logits of ``sequences``, one call for each in their order; a context manager that closes ``loops``.

    While one answer is waited for, the other loops work on what comes next; at most two answers a loop are held.
    """

    def __init__(self, loops: Sequence[Loop], sequences: Sequence[Sequence[int]]) -> None:
        self._stack = ExitStack()
        for loop in loops:
            self._stack.callback(loop.close)
        self._pool = ThreadPoolExecutor(len(loops))
        self._free: SimpleQueue[Loop] = SimpleQueue()
        for loop in loops:
            self._free.put(loop)
        self._waiting = deque(sequences)
        self._running: deque[Future[Logits]] = deque()
        self._most = 2 * len(loops)

    def __call__(self, tokens: Sequence[int]) -> Logits:
        """The next answer; ``tokens`` is the next of the sequences."""
        while self._waiting and len(self._running) < self._most:
            self._running.append(self._pool.submit(self._answer, self._waiting.popleft()))
        return self._running.popleft().result()

    def _answer(self, tokens: Sequence[int]) -> Logits:
        loop = self._free.get()
        try:
            return logits_of(loop)(tokens)
        finally:
            self._free.put(loop)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()
        self._stack.close()  # ends the processes, so that no thread waits for an answer any more
        self._pool.shutdown(cancel_futures=True)
