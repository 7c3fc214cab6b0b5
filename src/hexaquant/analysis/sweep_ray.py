"""A sweep over a Ray cluster (extra ``[ray]``): one actor on each core that the cluster has free.

Connects to the cluster that RAY_ADDRESS names or that runs on this machine; without one Ray starts its own here. The
study travels as bytes, so nodes need this package but no shared folder.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

from hexaquant.analysis.sensitivity import Task
from hexaquant.analysis.sweep_task import Result, make_measurement, one_thread, unpacked
from hexaquant.core.child_process import scratch_folder
from hexaquant.core.errors import EnvironmentLacksError

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
        yield from _run(ray, study, tasks, started)


def _run(ray: Any, study: bytes, tasks: Sequence[Task], started: bool) -> Iterator[tuple[str, Result]]:
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
