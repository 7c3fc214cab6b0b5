"""Runs the tasks of a study on several processes, on this machine or a Ray cluster; each finished task is kept on disk.

The figures do not depend on who computed what: each task runs on one thread, and sums are taken in the tasks' order.
"""

from __future__ import annotations

import pickle
import queue
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Literal

from hexaquant.analysis.sensitivity import Study, Task
from hexaquant.analysis.sweep_task import Result, make_measurement, one_thread, packed
from hexaquant.core.atomic import write_text
from hexaquant.core.child_process import child_command, child_environment, scratch_folder
from hexaquant.core.errors import WorkerError
from hexaquant.core.events import Events
from hexaquant.core.sealed import seal_json, unseal_json

Workers = int | Literal["ray"]
TASK = "sensitivities"


def run_sweep(
    study: Study, tasks: Sequence[Task], workers: Workers, state: Path, events: Events | None = None
) -> dict[str, Result]:
    """Task key -> result, of all ``tasks``; those with a file in the folder ``state`` are not run again.

    ``workers``: processes of this machine, 1 for this process alone, or "ray". Raises InputError for a metric that
    cannot be sent to another process, WorkerError when a process dies.
    """
    found = {task.key: result for task in tasks if (result := _kept(state, task.key)) is not None}
    waiting = [task for task in tasks if task.key not in found]
    log = events or Events()
    if found:
        log.note(TASK, f"{len(found)} of {len(tasks)} parts are there from an interrupted run")
    for key, result in log.track(_run(study, waiting, workers), TASK, len(waiting)):
        write_text(state / f"{key}.json", seal_json(result))
        found[key] = result
    return found


def _kept(state: Path, key: str) -> Result | None:
    try:
        result: Result = unseal_json((state / f"{key}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result


def _run(study: Study, tasks: Sequence[Task], workers: Workers) -> Iterator[tuple[str, Result]]:
    if not tasks:
        return
    if workers == "ray":
        from hexaquant.analysis.sweep_ray import run_on_ray

        yield from run_on_ray(packed(study), tasks)
    elif workers == 1:
        measurement = make_measurement(study)
        for task in tasks:
            with one_thread():
                result = measurement.run(task)
            yield task.key, result
    else:
        yield from _run_children(packed(study), tasks, min(workers, len(tasks)))


def _run_children(study: bytes, tasks: Sequence[Task], count: int) -> Iterator[tuple[str, Result]]:
    """One thread of this process for each child; results as they come."""
    todo: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Result] | Exception] = queue.SimpleQueue()
    for task in [*tasks, *([None] * count)]:
        todo.put(task)
    children = [_Child(study) for _ in range(count)]
    threads = [threading.Thread(target=_feed, args=(child, todo, done), daemon=True) for child in children]
    try:
        for thread in threads:
            thread.start()
        for _ in tasks:
            result = done.get()
            if isinstance(result, Exception):
                raise result
            yield result
    finally:
        for child in children:
            child.close()


def _feed(
    child: _Child, todo: queue.SimpleQueue[Task | None], done: queue.SimpleQueue[tuple[str, Result] | Exception]
) -> None:
    while (task := todo.get()) is not None:
        try:
            done.put((task.key, child.run(task)))
        except Exception as error:
            done.put(error)
            return


class _Child:
    """``python -m hexaquant.analysis.sweep_child``: pickles in, pickles out. It ends when its stdin closes."""

    def __init__(self, study: bytes) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._folder = scratch_folder()
        self._process = subprocess.Popen(
            child_command("hexaquant.analysis.sweep_child"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            cwd=self._folder.name,
            env=child_environment(),
        )
        self._study: bytes | None = study

    def run(self, task: Task) -> Result:
        """The result of ``task``. Raises what the task raised there, WorkerError when the process died."""
        try:
            if self._study is not None:
                self._send(self._study)
                self._study = None
            self._send(pickle.dumps(task))
            answer = pickle.load(self._pipe(self._process.stdout))
        except (BrokenPipeError, EOFError, ConnectionError):
            raise WorkerError(f"a process of the sweep died: {self._last_line()}") from None
        if isinstance(answer, Exception):
            raise answer
        result: Result = answer
        return result

    def _send(self, data: bytes) -> None:
        pipe = self._pipe(self._process.stdin)
        pipe.write(data)
        pipe.flush()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe

    def _last_line(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.wait()}"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                self._pipe(pipe).close()
        self._stderr.close()
        self._folder.cleanup()
