"""Nanoseconds per element of every observer and fake-quantization path, beside copying the tensor.

    OMP_NUM_THREADS=1 python benchmarks/observers.py [--json]

Shapes are activations of MobileNetV2 at 224x224. Smallest of several runs; one thread. ``encoding`` is the time of
one search in milliseconds after the updates.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from hexaquant.core.encoding import Encoding, encoding_of
from hexaquant.core.fake_quant import fake_quantize
from hexaquant.core.grid import FLOAT16, Grid, PerChannel
from hexaquant.core.observers import OBSERVERS, make_observer, mse_weight_encoding

SHAPES = [(1, 32, 112, 112), (16, 96, 56, 56), (16, 960, 7, 7), (1, 24, 14, 14)]
Row = dict[str, str | float]


def best_ns(call: Callable[[], object], repeats: int = 9) -> float:
    """Shortest wall time of ``call`` in nanoseconds, after one warm-up."""
    call()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - begun)
    return float(min(times))


def baselines(x: Tensor, encoding: Encoding) -> dict[str, Callable[[], object]]:
    """What the memory allows, and what PyTorch's own kernels take."""
    out = torch.empty_like(x)
    scale, zero = float(encoding.scale), -int(encoding.offset)
    return {
        "copy": lambda: out.copy_(x),
        "aminmax": lambda: torch.aminmax(x),
        "torch fused fake_quantize": lambda: torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255),
        "torch.histc 2048": lambda: torch.histc(x, 2048),
    }


def fake_quant_paths(x: Tensor) -> dict[str, Callable[[], object]]:
    eight, sixteen = encoding_of(x, Grid(8)), encoding_of(x, Grid(16))
    channel = encoding_of(x, Grid(8, True, True, PerChannel(1)))
    half = encoding_of(x, FLOAT16)
    tracked = x.clone().requires_grad_()
    grad = torch.ones_like(x)

    def step() -> None:
        fake_quantize(tracked, eight).backward(grad)
        tracked.grad = None

    return {
        "fake_quantize uint8": lambda: fake_quantize(x, eight),
        "fake_quantize uint16": lambda: fake_quantize(x, sixteen),
        "fake_quantize int8/channel": lambda: fake_quantize(x, channel),
        "fake_quantize float16": lambda: fake_quantize(x, half),
        "fake_quantize uint8 forward+backward": step,
    }


def observer_rows(x: Tensor) -> list[Row]:
    rows: list[Row] = []
    for name in OBSERVERS:
        observer = make_observer(name, Grid(8))
        update = best_ns(lambda observer=observer: observer.update(x))  # type: ignore[misc]
        search = best_ns(observer.encoding)
        rows.append({"what": f"observe {name}", "ns": update / x.numel(), "encoding_ms": search / 1e6})
    return rows


def measure() -> list[Row]:
    rows: list[Row] = []
    for shape in SHAPES:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        calls = baselines(x, encoding_of(x, Grid(8))) | fake_quant_paths(x)
        found: list[Row] = [{"what": what, "ns": best_ns(call) / x.numel()} for what, call in calls.items()]
        rows += [{"shape": "x".join(map(str, shape)), **row} for row in found + observer_rows(x)]
    w = torch.randn(960, 160, 1, 1)
    took = best_ns(lambda: mse_weight_encoding(w, Grid(4, True, True, PerChannel(0))), 3)
    return [*rows, {"shape": "960x160x1x1", "what": "mse_weight_encoding int4/channel", "ns": took / w.numel()}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure()
    if options.json:
        json.dump(rows, sys.stdout, indent=1)
        return
    for row in rows:
        search = f"  encoding {row['encoding_ms']:.2f} ms" if "encoding_ms" in row else ""
        print(f"{row['shape']:>14}  {row['what']:<38} {row['ns']:8.2f} ns/element{search}")


if __name__ == "__main__":
    main()
