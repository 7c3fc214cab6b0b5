"""The exported QDQ model in onnxruntime, graph optimizations off, gives what the simulation gives: within one step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hexaquant.io.qdq_writer import to_qdq
from hexaquant.ir.graph import Graph
from hexaquant.sim.model import QuantizedModel
from ir.onnx_text import random, run
from sim.nets import conv_net, net, quantized

ATTENTION = """(float[N,6,16] x) => (float[N,6,16] y) {
    n = LayerNormalization (x, g, b)
    key = Transpose <perm=[0,2,1]> (n)
    scores = MatMul (n, key)
    weights = Softmax (scores)
    mixed = MatMul (weights, n)
    m = Tanh (mixed)
    y = Add (m, x)
}"""
MANY = """(float[N,3,8,8] x) => (float[N,6] y, float[N,6,8,8] z) {
    c = Conv <pads=[1,1,1,1]> (x, w, cb)
    r = Clip (c, lo, hi)
    s = Sigmoid (r)
    z = Mul (r, s)
    p = GlobalAveragePool (z)
    f = Flatten (p)
    e = Selu (f)
    q = Abs (e)
    y = Gemm <transB=1> (q, v, vb)
}"""


def attention() -> Graph:
    return net(ATTENTION, g=random(16), b=random(16, seed=1))


def many() -> Graph:
    constants = {"w": random(6, 3, 3, 3), "cb": random(6), "lo": np.float32(0), "hi": np.float32(2)}
    return net(MANY, v=random(6, 6), vb=random(6), **constants)


CASES: dict[str, tuple[Any, str, Any, tuple[int, ...]]] = {
    "convolutions": (conv_net, "w8a8", None, (3, 8, 8)),
    "convolutions, 16 bits": (conv_net, "w8a16", None, (3, 8, 8)),
    "convolutions, 4-bit weights": (conv_net, "w4a8", None, (3, 8, 8)),
    "convolutions, 16-bit weights": (conv_net, "w16a16", None, (3, 8, 8)),
    "mixed types": (conv_net, "w8a8", {"y": "w8a16"}, (3, 8, 8)),
    "an inner float layer": (many, "w8a8", {"p": "fp16", "y": "w8a16"}, (3, 8, 8)),
    "many": (many, "w8a8", None, (3, 8, 8)),
    "many, 16 bits": (many, "w8a16", None, (3, 8, 8)),
    "attention": (attention, "w8a8", None, (6, 16)),
    "attention, 16 bits": (attention, "w8a16", None, (6, 16)),
    "attention, one layer of 16 bits": (attention, "w8a8", {"mixed": "w8a16"}, (6, 16)),
}


@pytest.fixture(scope="module", params=CASES)
def calibrated(request: pytest.FixtureRequest) -> tuple[QuantizedModel, np.ndarray]:
    make, scheme, overrides, shape = CASES[request.param]
    data = [{"x": random(4, *shape, seed=i)} for i in range(3)]
    return quantized(make(), scheme, overrides, data), random(4, *shape, seed=50)


def test_every_output_is_within_one_step(calibrated: tuple[QuantizedModel, np.ndarray]) -> None:
    model, x = calibrated
    encodings = model.encodings()
    qdq = to_qdq(model.exported_graph(), encodings, bypass=model.bypassed())
    with torch.no_grad():
        result = model(torch.from_numpy(x))
    simulated = [result] if isinstance(result, torch.Tensor) else list(result)
    for value, got, wanted in zip(model.source_graph.outputs, simulated, run(qdq, {"x": x}), strict=True):
        step = float(encodings[value.name or ""].scale)
        difference = np.abs(got.numpy() - wanted) / step
        assert difference.max() < 1.01 and (difference > 0.5).mean() < 0.02, value.name


def test_the_simulation_is_near_the_float_network(calibrated: tuple[QuantizedModel, np.ndarray]) -> None:
    model, x = calibrated
    tensor = torch.from_numpy(x)
    with torch.no_grad():
        simulated = model(tensor)
        with model.float_mode():
            wanted = model(tensor)
    for got, reference in zip(*[r if isinstance(r, tuple) else (r,) for r in (simulated, wanted)], strict=True):
        assert float((got - reference).square().mean() / reference.square().mean()) < 0.03
