"""hq.Runtime under load while its processes are killed at random: 64 callers for two minutes.

Every call must end in the right result or in a clear error, memory must stay flat, and no process may be left.
Usage: load.py [--seconds 120] [--callers 64] [--kill-every 2.0] [--workers 2]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from cnns import mobilenet_v2

import hexaquant as hq


def compiled(folder: Path) -> Path:
    """A MobileNetV2 of random weights for 32x32 images, w8a8, for sm8650."""
    torch.manual_seed(0)
    images = torch.randn(8, 3, 32, 32)
    model = hq.quantize(hq.load(mobilenet_v2().eval(), (images[:2],)), [(images,)], target="sm8650", recipe="plain")
    model.export(folder)
    hq.compile(folder)
    return folder / "model.sm8650.bin"


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def children() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"PPid:\t{os.getpid()}\n" in (entry / "status").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--kill-every", type=float, default=2.0, help="mean seconds between two kills; 0: none")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(load(compiled(Path(folder)), options), indent=2))


def load(binary: Path, options: argparse.Namespace) -> dict[str, object]:
    generator = np.random.default_rng(1)
    images = [generator.normal(size=(1, 3, 32, 32)).astype(np.float32) for _ in range(8)]
    ends: Counter[str] = Counter()
    memory, kills, waits = [], 0, []
    with hq.Runtime(binary, workers=options.workers) as runtime:
        wanted = [runtime.run(image) for image in images]
        stop = time.monotonic() + options.seconds

        def call(number: int) -> None:
            choose = random.Random(number)
            while time.monotonic() < stop:
                index, began = choose.randrange(len(images)), time.monotonic()
                try:
                    got = runtime.run(images[index], deadline_s=60)
                except (hq.WorkerError, hq.DeadlineError) as error:
                    ends[type(error).__name__ + (": SIGKILL" if "SIGKILL" in str(error) else f": {error}")] += 1
                else:
                    right = all(np.array_equal(got[name], wanted[index][name]) for name in got)
                    ends["right" if right else "WRONG"] += 1
                    waits.append(time.monotonic() - began)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(options.callers)]
        for thread in threads:
            thread.start()
        killer = random.Random(0)
        while time.monotonic() < stop:
            time.sleep(killer.expovariate(1 / options.kill_every) if options.kill_every else 1.0)
            memory.append(resident_mb())
            if options.kill_every and runtime.pids:
                try:
                    os.kill(killer.choice(runtime.pids), signal.SIGKILL)
                    kills += 1
                except ProcessLookupError:
                    continue
        for thread in threads:
            thread.join()
    return {
        "calls": dict(ends),
        "kills": kills,
        "latency_ms": {f"p{p}": round(float(np.percentile(waits, p)) * 1e3, 1) for p in (50, 95, 99, 100)},
        "memory_mb": {"first": round(memory[0], 1), "last": round(memory[-1], 1), "highest": round(max(memory), 1)},
        "processes_left": len(children()),
    }


if __name__ == "__main__":
    main()
