"""One training step with learned ranges on every activation, against FP32, as ratios in one run.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/qat.py [--steps 5] [--scheme w8a8] [--json]
    python benchmarks/qat.py --device cuda --amp bf16 --compile --batch 64

A step is forward, cross-entropy, backward and SGD with momentum, batch 16 at 224x224 unless said. ``fp32`` is the
plain nn.Module with BatchNorm in training mode, ``folded`` the same network with BatchNorm folded (what AIMET's QAT
is compared with), ``qat`` the simulation with one learned scale an activation, one a weight channel. The variants
take turns step by step; medians of CPU seconds (wall time on other devices). Memory is the peak above what the
process held before its first step, each variant in a process of its own (on CUDA: allocator peak, one process);
``process_to_...`` compares whole processes. ``--trace FILE`` writes a profile of one qat step.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from cnns import mobilenet_v2, resnet18, settle_statistics
from torch import nn
from torch.nn import functional

import hexaquant as hq
from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import find_target
from hexaquant.qat.learn import learn_encodings
from hexaquant.sim.calibrate import calibrate
from hexaquant.sim.model import QuantizedModel
from hexaquant.sim.planner import make_plan

NETWORKS = {"resnet18": resnet18, "mobilenet_v2": mobilenet_v2}
VARIANTS = ("fp32", "folded", "qat")
Row = dict[str, Any]


def build(variant: str, name: str, options: argparse.Namespace) -> nn.Module:
    """The network called ``name`` as ``variant``, on the device, in training mode."""
    torch.manual_seed(0)
    x = torch.randn(4, 3, options.size, options.size)
    net = settle_statistics(NETWORKS[name](), x)
    if variant == "fp32":
        return placed(net, options).train()
    graph = hq.load(net, example_inputs=(x[:2],))
    model = QuantizedModel(graph, make_plan(graph, find_target("sm8650"), SCHEMES[options.scheme]))
    if variant == "qat":
        calibrate(model, [{graph.inputs[0].name or "": x}], observer="min_max")
        learn_encodings(model)
    return placed(model, options).train()


def placed(net: nn.Module, options: argparse.Namespace) -> nn.Module:
    net = net.to(options.device)
    return net.to(memory_format=torch.channels_last) if options.channels_last else net  # type: ignore[call-overload]


def training_step(variant: str, name: str, options: argparse.Namespace) -> Callable[[], None]:
    """One step as a call without arguments."""
    model = build(variant, name, options)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    call = torch.compile(model, mode=options.mode) if options.compile else model
    x = torch.randn(options.batch, 3, options.size, options.size, device=options.device)
    if options.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 1000, (options.batch,), device=options.device)
    half = torch.autocast(options.device, torch.bfloat16, enabled=options.amp == "bf16")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with half:
            loss = functional.cross_entropy(call(x), y)
        loss.backward()
        optimizer.step()

    return step


def timed(step: Callable[[], None], device: str) -> float:
    """Seconds of one step: CPU time of this process, or wall time with the device waited for."""
    if device == "cpu":
        start = time.process_time()
        step()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(steps: Mapping[str, Callable[[], None]], options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of each variant's step, after warm-up."""
    for step in steps.values():
        for _ in range(2 if options.device == "cpu" else 10):
            step()
    times: dict[str, list[float]] = {variant: [] for variant in steps}
    for _ in range(options.steps):
        for variant, step in steps.items():
            times[variant].append(timed(step, options.device))
    return {variant: statistics.median(seconds) for variant, seconds in times.items()}


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mb(variant: str, name: str, options: argparse.Namespace) -> tuple[float, float]:
    """(peak above what was held before the first step, peak of all) in MB, of two steps."""
    step = training_step(variant, name, options)
    if options.device == "cpu":
        before = resident_mb()
        step()
        step()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return peak - before, peak
    step()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() / 2**20
    step()
    peak = torch.cuda.max_memory_allocated() / 2**20
    return peak - before, peak


def peak_in_child(variant: str, name: str, options: argparse.Namespace) -> tuple[float, float]:
    """:func:`peak_mb` in a fresh process, whose high-water mark is its own."""
    command = [sys.executable, __file__, name, "--peak-of", variant, "--scheme", options.scheme, "--amp", options.amp]
    command += ["--batch", str(options.batch), "--size", str(options.size)]
    command += ["--channels-last"] * options.channels_last + ["--compile"] * options.compile + ["--mode", options.mode]
    step, whole = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return float(step), float(whole)


def measure(name: str, options: argparse.Namespace) -> Row:
    peaks = {v: (peak_in_child if options.device == "cpu" else peak_mb)(v, name, options) for v in VARIANTS}
    seconds = in_turns({v: training_step(v, name, options) for v in VARIANTS}, options)
    row: Row = {"network": name, "device": options.device, "scheme": options.scheme, "batch": options.batch}
    row |= {
        "amp": options.amp,
        "compile": options.mode if options.compile else None,
        "channels_last": options.channels_last,
    }
    row |= {f"{v}_ms": round(1e3 * s, 2) for v, s in seconds.items()}
    row |= {f"{v}_mb": round(peaks[v][0]) for v in VARIANTS}
    for base in ("fp32", "folded"):
        row[f"time_to_{base}"] = round(seconds["qat"] / seconds[base], 3)
        row[f"memory_to_{base}"] = round(peaks["qat"][0] / peaks[base][0], 3)
        row[f"process_to_{base}"] = round(peaks["qat"][1] / peaks[base][1], 3)
    return row


def trace(name: str, options: argparse.Namespace) -> None:
    """Print the operators of one qat step by their own time, and write the whole as a Chrome trace."""
    step = training_step("qat", name, options)
    step()
    with torch.profiler.profile() as profile:
        step()
    key = "self_cpu_time_total" if options.device == "cpu" else "self_device_time_total"
    print(profile.key_averages().table(sort_by=key, row_limit=25, max_name_column_width=50))
    profile.export_chrome_trace(options.trace)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scheme", default="w8a8")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each variant")
    parser.add_argument("--amp", choices=("none", "bf16"), default="none", help="autocast")
    parser.add_argument("--compile", action="store_true", help="torch.compile all variants")
    parser.add_argument("--mode", default="default", help="of torch.compile, e.g. reduce-overhead (CUDA graphs)")
    parser.add_argument("--channels-last", action="store_true", help="memory format of networks and images")
    parser.add_argument("--trace", help="profile one qat step into this file instead")
    parser.add_argument("--peak-of", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.device == "cpu":
        torch.set_num_threads(1)
    if options.peak_of:
        print(json.dumps(peak_mb(options.peak_of, options.networks[0], options)))
        return
    if options.trace:
        trace(options.networks[0], options)
        return
    rows = [measure(name, options) for name in options.networks]
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
