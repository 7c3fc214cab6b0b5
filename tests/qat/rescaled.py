"""A depthwise network whose channels are deliberately badly scaled; its float function does not depend on that."""

from __future__ import annotations

import numpy as np
import torch

from hexaquant.ir.graph import Graph
from ir.onnx_text import random
from sim.nets import net

TEXT = """(float[N,3,16,16] x) => (float[N,10] y) {
    a = Conv <pads=[1,1,1,1]> (x, w1, b1)
    ar = Relu (a)
    d = Conv <pads=[1,1,1,1], group=16> (ar, dw, db)
    dr = Relu (d)
    p = Conv (dr, w2, b2)
    pr = Relu (p)
    m = GlobalAveragePool (pr)
    f = Flatten (m)
    y = Gemm (f, fc, fb)
}"""
PER_TENSOR = {name: {"bits": 8, "granularity": "tensor"} for name in ("w1", "dw", "w2", "fc")}


def rescaled_net(spread: float) -> Graph:
    """Channels of the two inner activations multiplied by exp(+-``spread``), and divided again after them."""
    rng = np.random.default_rng(0)
    f, g = np.exp(rng.uniform(-spread, spread, (2, 16, 1, 1, 1))).astype(np.float32)
    weights = {"w1": random(16, 3, 3, 3, seed=1) / 5 * f, "b1": random(16, seed=2) * 0.1 * f.ravel()}
    weights |= {"dw": random(16, 1, 3, 3, seed=3) / 3 * g / f, "db": random(16, seed=4) * 0.1 * g.ravel()}
    weights |= {"w2": random(16, 16, 1, 1, seed=5) / 4 / g.reshape(1, 16, 1, 1), "b2": random(16, seed=6) * 0.1}
    weights |= {"fc": random(16, 10, seed=7) / 2, "fb": random(10, seed=8) * 0.1}
    return net(TEXT, **{name: w.astype(np.float32) for name, w in weights.items()})


def smooth_images(count: int, seed: int) -> np.ndarray:
    """(count, 3, 16, 16) of low frequency."""
    coarse = torch.from_numpy(random(count, 3, 4, 4, seed=seed))
    return (torch.nn.functional.interpolate(coarse, size=16, mode="bilinear") * 1.5).numpy()
