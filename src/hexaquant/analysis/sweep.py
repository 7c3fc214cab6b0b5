"""Runs the tasks of a study on several processes, on this machine or a Ray cluster; each finished task is kept on disk.

The figures do not depend on who computed what: each task runs on one thread, and sums are taken in the tasks' order.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

import torch

from hexaquant.analysis.metrics import find_metric
from hexaquant.analysis.sensitivity import Measurement, Study, Task
from hexaquant.core.atomic import write_text
from hexaquant.core.child_process import child_command, child_environment, scratch_folder
from hexaquant.core.errors import EnvironmentLacksError, InputError, WorkerError
from hexaquant.core.events import Events
from hexaquant.core.sealed import seal_json, unseal_json

# How one task of a sweep runs, wherever: in this process, in a child, on a cluster.

Result = dict[str, Any]


def packed(study: Study) -> bytes:
    """``study`` for another process. Raises InputError when the metric cannot be sent there.

    With it go the folders that may hold the user's own metric, and none where there is no such metric.
    """
    own = callable(study.metric) or ":" in (study.metric or "")
    folders = [str(Path(folder).absolute()) for folder in ("", *sys.path)] if own else []
    try:
        return pickle.dumps(folders) + pickle.dumps(study)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            f"the metric cannot be sent to other processes ({error}): give module:function, or workers=1"
        ) from None


def unpacked(stream: IO[bytes]) -> Study:
    """The study that ``packed`` wrote, by this process's parent.

    The user's metric runs in the user's working folder and finds its modules there, after all installed ones.
    """
    folders = pickle.load(stream)
    sys.path += [folder for folder in folders if folder not in sys.path]
    if folders and Path(folders[0]).is_dir():
        os.chdir(folders[0])
    study: Study = pickle.load(stream)
    return study


def make_measurement(study: Study) -> Measurement:
    """With the metric looked up: named ones are found where the task runs."""
    return Measurement(study, None if study.metric is None else find_metric(study.metric)[1])


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block torch uses one thread: as many processes run as there are cores, and sums stay the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# A sweep over a Ray cluster (extra ``[ray]``): one actor on each core that the cluster has free.
#
# Connects to the cluster that RAY_ADDRESS names or that runs on this machine; without one Ray starts its own here. The
# study travels as bytes, so nodes need this package but no shared folder.

NO_USAGE_REPORT = ("RAY_USAGE_STATS_ENABLED", "0")
"""A Ray that is started here would send usage data unless told before it is imported."""


class Worker:
    """What runs in an actor."""

    def __init__(self, study: bytes) -> None:
        self._measurement = make_measurement(unpacked(io.BytesIO(study)))

    def run(self, task: Task) -> tuple[str, Result]:
        with one_thread():
            return task.key, self._measurement.run(task)


def run_on_ray(study: bytes, tasks: Sequence[Task]) -> Iterator[tuple[str, Result]]:
    """(key, result) of each task as they come. Raises EnvironmentLacksError without ray or without a core."""
    ray = _ray()
    started = not ray.is_initialized()
    with scratch_folder() as folder:
        if started:
            _connect(ray, folder)
        yield from _run_actors(ray, study, tasks, started)


def _run_actors(ray: Any, study: bytes, tasks: Sequence[Task], started: bool) -> Iterator[tuple[str, Result]]:
    try:
        cores = int(ray.available_resources().get("CPU", 0))
        if not cores:
            raise EnvironmentLacksError("the Ray cluster has no free core: wait for other jobs, or give --workers N")
        actor = ray.remote(num_cpus=1)(Worker)
        shared = ray.put(study)
        actors = [actor.remote(shared) for _ in range(min(cores, len(tasks)))]
        pool = importlib.import_module("ray.util").ActorPool(actors)
        yield from pool.map_unordered(lambda worker, task: worker.run.remote(task), tasks)
    finally:
        if started:
            ray.shutdown()


def _connect(ray: Any, folder: str) -> None:
    """Started in ``folder``: Ray puts the working folder of this moment on its workers' ``sys.path``."""
    try:
        with contextlib.chdir(folder):
            ray.init(log_to_driver=False, configure_logging=False)
    except ConnectionError as error:
        reason = " ".join(str(error).split())
        raise EnvironmentLacksError(f"the Ray cluster does not answer ({reason}): start it, or ray stop") from None


def _ray() -> Any:
    os.environ.setdefault(*NO_USAGE_REPORT)
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise EnvironmentLacksError("--workers ray needs ray: pip install 'hexaquant[ray]'") from None


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
