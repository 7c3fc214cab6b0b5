"""Calibration and simulation against plain FP32, as ratios in one run, one thread.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/simulation.py [--images 64] [--json]

CPU seconds of this process; FP32 is the forward of the original nn.Module on the same images and batches.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import torch
from cnns import mobilenet_v2, resnet18, settle_statistics

import hexaquant as hq
from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import find_target
from hexaquant.sim.calibrate import calibrate
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.planner import make_plan


def cpu_seconds(run: Callable[[], object], repeats: int = 3) -> float:
    """Median CPU seconds of ``run``."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, images: int, batch: int = 16) -> dict[str, float | str]:
    torch.manual_seed(0)
    x = torch.randn(images, 3, 224, 224)
    net = settle_statistics(resnet18() if name == "resnet18" else mobilenet_v2(), x[:8])
    batches = x.split(batch)

    def forward(module: torch.nn.Module) -> Callable[[], None]:
        def run() -> None:
            with torch.inference_mode():
                for part in batches:
                    module(part)

        return run

    forward(net)()
    base_memory = peak_mb()
    fp32 = cpu_seconds(forward(net))
    graph = hq.load(net, example_inputs=(x[:2],))
    row: dict[str, float | str] = {"network": name, "fp32_s": round(fp32, 3)}
    model = QuantizedModel(graph, make_plan(graph, find_target("sm8650"), SCHEMES["w8a8"]))
    key = graph.inputs[0].name or ""
    row["float_graph"] = round(cpu_seconds(forward(model)) / fp32, 3)
    for observer in ("min_max", "mse", "sqnr", "percentile", "entropy"):
        feeds = [{key: part} for part in batches]
        row[observer] = round(cpu_seconds(lambda o=observer, f=feeds: calibrate(model, f, observer=o)) / fp32, 3)
    row["simulation"] = round(cpu_seconds(forward(model)) / fp32, 3)
    row["extra_memory_mb"] = round(peak_mb() - base_memory, 1)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("networks", nargs="*", default=["resnet18", "mobilenet_v2"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(name, options.images) for name in options.networks]
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print("  ".join(f"{key}={value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
