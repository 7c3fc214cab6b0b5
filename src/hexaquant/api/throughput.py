"""How many requests a second a context binary answers, and how long each takes, with several callers at once.

Each caller sends its next request when it has the answer to the last: a closed loop, as in Qualcomm's throughput tool.
On the emulator this says how the PC copes, nothing about the NPU: that is ``hexaquant estimate``.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hexaquant.core.errors import HexaquantError, InputError
from hexaquant.qnn.runtime import Runtime
from hexaquant.qnn.tensor_io import Inputs, TensorSpec

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Throughput:
    """``latency_ms``: of answered requests, "p50" ... "p99", "mean", "max". ``failures``: message -> how often."""

    requests: int
    seconds: float
    per_second: float
    callers: int
    workers: int
    latency_ms: dict[str, float]
    failures: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure_throughput(runtime: Runtime, items: Sequence[Inputs], seconds: float, callers: int) -> Throughput:
    """Let ``callers`` threads run ``items`` in turn for ``seconds``; one answer is awaited first, unmeasured.

    Failed requests are counted, not raised. Raises InputError for no items, no callers or no time.
    """
    if not items or callers < 1 or not seconds > 0:
        raise InputError("a measurement needs at least one sample, one caller and more than 0 seconds")
    runtime.run(items[0])
    latencies: list[list[float]] = [[] for _ in range(callers)]
    failures: list[str] = []
    began = time.perf_counter()

    def call(number: int) -> None:
        turn = number
        while time.perf_counter() - began < seconds:
            start = time.perf_counter()
            try:
                runtime.run(items[turn % len(items)])
            except HexaquantError as error:
                failures.append(str(error))
            else:
                latencies[number].append(time.perf_counter() - start)
            turn += callers

    threads = [threading.Thread(target=call, args=(number,), name=f"caller {number}") for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    return _summary(np.concatenate([np.asarray(each) for each in latencies]), failures, took, callers, runtime)


def _summary(latencies: np.ndarray, failures: list[str], took: float, callers: int, runtime: Runtime) -> Throughput:
    numbers: dict[str, float] = {}
    if len(latencies):
        values = np.percentile(latencies, PERCENTILES) * 1e3
        numbers = {f"p{p}": round(float(v), 3) for p, v in zip(PERCENTILES, values)}
        numbers |= {"mean": round(float(latencies.mean()) * 1e3, 3), "max": round(float(latencies.max()) * 1e3, 3)}
    per_second = round(len(latencies) / took, 3)
    return Throughput(
        len(latencies), round(took, 3), per_second, callers, len(runtime.pids), numbers, dict(Counter(failures))
    )


def random_inputs(runtime: Runtime, count: int = 8, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """``count`` samples for every input: floats over the range of its encoding (or -1 to 1), or stored integers."""
    generator = np.random.default_rng(seed)
    return [{spec.name: _random(spec, runtime.float_io, generator) for spec in runtime.inputs} for _ in range(count)]


def _random(spec: TensorSpec, as_float: bool, generator: np.random.Generator) -> np.ndarray:
    if spec.dtype.kind not in "iub":
        return generator.uniform(-1, 1, spec.shape).astype(spec.dtype)
    if spec.scale is None:  # plain integers, such as indices: 0 is legal everywhere
        return np.zeros(spec.shape, spec.dtype)
    limits = np.iinfo(spec.dtype)
    stored = generator.integers(limits.min, limits.max, spec.shape, endpoint=True)
    return ((stored + spec.offset) * spec.scale).astype(np.float32) if as_float else stored.astype(spec.dtype)
