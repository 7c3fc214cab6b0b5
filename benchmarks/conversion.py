"""qairt-converter on a ResNet18-shaped network: time and memory of the whole process tree, beside a bare import.

    python benchmarks/conversion.py

CPU seconds of user and system together; the ratio to importing torch and onnxruntime in the same run says how busy the
machine was. Peak memory is that of the largest process. As after ``pip install``, Python finds its modules compiled:
that is a first run, which does not count, whatever PYTHONDONTWRITEBYTECODE says.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

RUNS = 3
"""The median by wall time is printed."""
IMPORTS = [sys.executable, "-c", "import torch, onnx, onnx_ir, onnxruntime"]


def make(folder: str) -> None:
    """Export the quantized network (in a process of its own, whose memory does not count)."""
    import torch
    from cnns import resnet18, settle_statistics

    import hexaquant as hq

    torch.manual_seed(0)
    net, x = resnet18().eval(), torch.randn(2, 3, 224, 224)
    settle_statistics(net, x)
    hq.quantize(net.eval(), [x], example_inputs=(x,)).export(folder)


def measure(command: list[str], bytecode: Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak megabytes of ``command``'s largest process."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[-1]}: the converter ended with status {status}")
    return time.monotonic() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = get_context("spawn").Process(target=make, args=(name,))
        process.start()
        process.join()
        call = "import sys; from hexaquant.cli.tools.qairt_converter import main; sys.exit(main(sys.argv[1:]))"
        convert = [sys.executable, "-c", call, "-o", str(folder / "net.dlc"), "--log_level", "error", "-i"]
        ways = {
            "imports alone": IMPORTS,
            "encodings file": [*convert, str(folder / "model.onnx"), "-q", str(folder / "model.encodings")],
            "QDQ nodes": [*convert, str(folder / "model.qdq.onnx")],
        }
        print(f"load average {os.getloadavg()[0]:.1f}")
        for way, command in ways.items():
            measure(command, folder / "bytecode")
            runs = sorted(measure(command, folder / "bytecode") for _ in range(RUNS))
            wall, cpu, peak = runs[RUNS // 2]
            spread = f"wall {runs[0][0]:.1f} to {runs[-1][0]:.1f} s"
            print(f"{way:15} {wall:7.1f} s  {cpu:6.2f} s CPU  {peak:6.0f} MB   ({spread})")


if __name__ == "__main__":
    main()
