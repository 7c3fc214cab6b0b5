"""The same MobileNetV2 imported from Keras and from PyTorch: size of the binary and time on the emulator, as ratios.

    python benchmarks/keras_import.py

Random weights, 96x96, w8a8, sm8650. The runs alternate; the ratio is that of the fastest of each.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import torch
from cnns import mobilenet_v2

import hexaquant as hq

RUNS = 7
IMAGE = (96, 96, 3)


def main() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (1, *IMAGE)).astype(np.float32)
    planes = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    network = keras.applications.MobileNetV2(input_shape=IMAGE, weights=None, classifier_activation=None)
    graphs = {
        "Keras": (hq.load(network), image),
        "PyTorch": (hq.load(mobilenet_v2().eval(), example_inputs=(torch.from_numpy(planes),)), planes),
    }
    with tempfile.TemporaryDirectory() as folder:
        binaries = {name: build(graph, x, Path(folder) / name) for name, (graph, x) in graphs.items()}
        sizes = {name: binary.stat().st_size for name, binary in binaries.items()}
        seconds = fastest(binaries, {name: {graph.inputs[0].name or "": x} for name, (graph, x) in graphs.items()})
    for name, (graph, _) in graphs.items():
        print(f"{name}: {len(graph.nodes)} nodes, {sizes[name]} bytes, {seconds[name]:.3f} s a run")
    print(f"size {sizes['Keras'] / sizes['PyTorch']:.3f}x, time {seconds['Keras'] / seconds['PyTorch']:.3f}x")


def build(graph: hq.Graph, x: np.ndarray, folder: Path) -> Path:
    """The context binary of ``graph``, quantized to w8a8."""
    model = hq.quantize(graph, x, scheme="w8a8")
    model.export(folder)
    hq.compile(folder)
    return folder / "model.sm8650.bin"


def fastest(binaries: dict[str, Path], inputs: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
    """Seconds of the fastest run of each binary, the runs taking turns."""
    runtimes = {name: hq.Runtime(path) for name, path in binaries.items()}
    best = dict.fromkeys(runtimes, float("inf"))
    for _ in range(RUNS):
        for name, runtime in runtimes.items():
            start = time.perf_counter()
            runtime.run(inputs[name])
            best[name] = min(best[name], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
