"""Many callers, deadlines, cancellation, dying processes before one binary: each call is answered or says why not."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from hexaquant.core.errors import DeadlineError, InputError, OverloadError, WorkerError
from hexaquant.qnn.runtime import Runtime
from qnn.compiled import Compiled


def image(seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (1, 8, 12, 12)).astype(np.float32)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process does nothing meanwhile, as if it hung."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return


def until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited 30 s in vain"
        time.sleep(0.01)


def test_many_callers_get_their_own_answers(conv_u8: Compiled) -> None:
    with Runtime(conv_u8.compiled.path, workers=2, queue_size=4) as runtime, ThreadPoolExecutor(24) as callers:
        wanted = {seed: runtime.run(image(seed))["y"] for seed in range(6)}
        seeds = [index % 6 for index in range(120)]
        answers = list(callers.map(lambda seed: runtime.run(image(seed))["y"], seeds))
        assert len(runtime.pids) == 2
    for seed, answer in zip(seeds, answers):
        np.testing.assert_array_equal(answer, wanted[seed])


def test_one_caller_uses_one_process(conv_u8: Compiled) -> None:
    with Runtime(conv_u8.compiled.path, workers=4) as runtime:
        for _ in range(5):
            runtime.run(image())
        assert len(runtime.pids) == 1


def test_only_the_request_of_a_dying_process_fails(conv_u8: Compiled) -> None:
    with Runtime(conv_u8.compiled.path, workers=1) as runtime:
        wanted = runtime.run(image())["y"]
        (pid,) = runtime.pids
        with stopped(pid):
            running = runtime.submit(image())
            waiting = [runtime.submit(image()) for _ in range(3)]
            until(running.running)
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match="SIGKILL"):
            running.result(30)
        for future in waiting:
            np.testing.assert_array_equal(future.result(30)["y"], wanted)
        assert runtime.pids != [pid]


def test_a_process_that_dies_while_it_waits_fails_nobody(conv_u8: Compiled) -> None:
    with Runtime(conv_u8.compiled.path, workers=1) as runtime:
        wanted = runtime.run(image())["y"]
        (pid,) = runtime.pids
        os.kill(pid, signal.SIGKILL)
        until(lambda: not all(process.alive for process in runtime._queue.processes))
        np.testing.assert_array_equal(runtime.run(image())["y"], wanted)
        assert runtime.pids != [pid]


def test_bad_inputs_fail_their_caller_and_keep_the_process(conv_u8: Compiled) -> None:
    with Runtime(conv_u8.compiled.path, workers=1) as runtime:
        pids = runtime.pids
        with pytest.raises(InputError):
            runtime.run({"nobody": image()})
        runtime.run(image())
        assert runtime.pids == pids


def test_deadlines_of_running_and_of_waiting_requests(conv_u8: Compiled) -> None:
    with Runtime(conv_u8.compiled.path, workers=1) as runtime:
        wanted = runtime.run(image())["y"]
        with stopped(runtime.pids[0]):
            with pytest.raises(DeadlineError, match=r"gave no answer within 0\.2 s"):
                runtime.run(image(), deadline_s=0.2)
            late = runtime.submit(image(4), deadline_s=0.1)
            time.sleep(0.15)
        with pytest.raises(DeadlineError, match="waited in the queue until its deadline"):
            late.result(30)
        np.testing.assert_array_equal(runtime.run(image())["y"], wanted)


def test_a_full_queue_refuses_or_makes_wait(conv_u8: Compiled) -> None:
    with Runtime(conv_u8.compiled.path, workers=1, queue_size=2) as runtime:
        with stopped(runtime.pids[0]):
            running = runtime.submit(image())
            until(running.running)
            waiting = [runtime.submit(image()) for _ in range(2)]
            with pytest.raises(OverloadError, match="2 requests already wait"):
                runtime.submit(image(), wait=False)
            with pytest.raises(DeadlineError, match="stayed full"):
                runtime.submit(image(), deadline_s=0.1)
        for future in (running, *waiting):
            assert future.result(30)["y"].shape == (1, 16, 12, 12)


def test_a_cancelled_request_is_never_started(conv_u8: Compiled) -> None:
    with Runtime(conv_u8.compiled.path, workers=1) as runtime:
        with stopped(runtime.pids[0]):
            running = runtime.submit(image())
            until(running.running)
            withdrawn, after = runtime.submit({"nobody": image()}), runtime.submit(image())
            assert withdrawn.cancel()
        assert after.result(30)["y"].shape == (1, 16, 12, 12)
        assert withdrawn.cancelled()


def test_asyncio_callers_share_the_processes(conv_u8: Compiled) -> None:
    async def all_at_once(runtime: Runtime) -> list[np.ndarray]:
        answers = await asyncio.gather(*(runtime.run_async(image(index % 3)) for index in range(30)))
        return [answer["y"] for answer in answers]

    async def too_slow(runtime: Runtime) -> None:
        with stopped(runtime.pids[0]):
            await runtime.run_async(image(), deadline_s=0.2)

    with Runtime(conv_u8.compiled.path, workers=1, queue_size=4) as runtime:
        wanted = [runtime.run(image(seed))["y"] for seed in range(3)]
        for index, answer in enumerate(asyncio.run(all_at_once(runtime))):
            np.testing.assert_array_equal(answer, wanted[index % 3])
        with pytest.raises(DeadlineError, match=r"within 0\.2 s"):
            asyncio.run(too_slow(runtime))


def test_closing_ends_running_and_waiting_requests(conv_u8: Compiled) -> None:
    runtime = Runtime(conv_u8.compiled.path, workers=1)
    (pid,) = runtime.pids
    os.kill(pid, signal.SIGSTOP)
    futures = [runtime.submit(image()) for _ in range(4)]
    until(futures[0].running)
    runtime.close()
    for future in futures:
        with pytest.raises(WorkerError):
            future.result(30)
    with pytest.raises(WorkerError, match="closed: make a new one"):
        runtime.run(image())
    assert not runtime.pids and not any(thread.name == "hexaquant conv.bin" for thread in threading.enumerate())


def test_a_forgotten_runtime_leaves_no_process(conv_u8: Compiled) -> None:
    runtime = Runtime(conv_u8.compiled.path)
    runtime.run(image())
    (pid,) = runtime.pids
    del runtime
    until(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"queue_size": 0}])
def test_a_runtime_without_room_is_refused(conv_u8: Compiled, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least one worker"):
        Runtime(conv_u8.compiled.path, **wrong)
