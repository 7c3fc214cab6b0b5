"""A quantized network with a branch, a residual and a dead end for each thing that the analysis looks at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hexaquant.folder.artifacts import export_model
from hexaquant.ir.graph import Graph
from hexaquant.sim.model import QuantizedModel
from ir.onnx_text import random
from sim.nets import net, quantized

TEXT = """(float[N,3,8,8] x) => (float[N,5] y) {
    a = Conv <pads=[1,1,1,1]> (x, w1, b1)
    ra = Relu (a)
    b = Conv <pads=[1,1,1,1], group=6> (ra, w2, b2)
    rb = Relu (b)
    c = Conv (rb, w3, b3)
    s = Add (c, ra)
    d = Conv <pads=[1,1,1,1]> (s, w4, b4)
    rd = Relu (d)
    e = Conv (rd, w5, b5)
    re = Relu (e)
    p = GlobalAveragePool (re)
    f = Flatten (p)
    y = Gemm <transB=1> (f, w6, b6)
}"""
SHAPES = {
    "w1": (6, 3, 3, 3),
    "w2": (6, 1, 3, 3),
    "w3": (6, 6, 1, 1),
    "w4": (8, 6, 3, 3),
    "w5": (8, 8, 1, 1),
    "w6": (5, 8),
}


def residual_net() -> Graph:
    """x (N, 3, 8, 8) to y (N, 5): six layers with a residual."""
    weights = {name: random(*shape, seed=i) * np.float32(0.4) for i, (name, shape) in enumerate(SHAPES.items())}
    biases = {f"b{i + 1}": random(shape[0], seed=10 + i) for i, shape in enumerate(SHAPES.values())}
    return net(TEXT, **weights, **biases)


def samples(count: int, seed: int = 0) -> np.ndarray:
    """(count, 3, 8, 8) float32."""
    return random(count, 3, 8, 8, seed=seed)


def quantized_net() -> QuantizedModel:
    """Calibrated on the samples that the tests look at."""
    return quantized(residual_net(), data=[{"x": samples(16)}], observer="mse")


def exported(folder: Path) -> Path:
    """The artifact folder of :func:`quantized_net`."""
    export_model(quantized_net(), folder, reference=residual_net())
    return folder
