"""Time of `hexaquant analyze` on EfficientNet-Lite0: every quantizer alone on and alone off, on 32 pictures.

    python benchmarks/sensitivity.py --workers 2

Prints wall and CPU seconds, and the CPU time as a part of what whole runs of every variant would take: one float and
one simulated run of a batch are timed in the same process.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import torch
from lite0 import INPUT, pictures, quantized_folder

import hexaquant as hq


def cpu_seconds() -> float:
    """Of this process and of the children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@torch.no_grad()
def whole_runs(folder: Path, batch: torch.Tensor) -> tuple[float, float]:
    """CPU seconds of a float and of a simulated run of ``batch``."""
    model = hq.load_quantized(folder)
    times = []
    for state in ("off", "on"):
        model.set_state(state)
        model(batch)
        start = time.process_time()
        model(batch)
        times.append(time.process_time() - start)
    return times[0], times[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("out/efficientnet_lite0/w8a8"), help="made when missing")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    data = pictures(32)
    folder = quantized_folder(args.folder, data)
    with_float, simulated = whole_runs(folder, torch.from_numpy(data[INPUT][:4]))
    start, used = time.monotonic(), cpu_seconds()
    found = hq.analyze(folder, data, samples=args.samples, workers=args.workers)
    wall, cpu = time.monotonic() - start, cpu_seconds() - used
    naive = len(found.quantizers) * (with_float + simulated) * args.samples / 4
    head = f"{len(found.quantizers)} quantizers, alone on and alone off, {found.samples} pictures"
    print(f"{head}, {args.workers} processes: wall {wall:.0f} s, CPU {cpu:.0f} s")
    print(f"whole runs of all variants would take {naive:.0f} s: {cpu / naive:.2f} x")
    for entry in found.worst(5):
        print(f"  {entry.alone_on.sqnr_db:6.1f} dB  {entry.kind:10}  {entry.place.shown}")


if __name__ == "__main__":
    main()
