"""The debugger with the emulator: a Softmax that the target computes coarsely; the compiled copy is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import hexaquant as hq
from hexaquant.htp.legality import legality_table
from ir.onnx_text import random
from sim.nets import net

TEXT = """(float[N,3,8,8] x) => (float[N,10] y) {
    c = Conv <pads=[1,1,1,1]> (x, w, b)
    r = Relu (c)
    f = Flatten (r)
    s = Gemm <transB=1> (f, v, b2)
    t = Softmax <axis=-1> (s)
    y = Gemm <transB=1> (t, u, b3)
}"""


def test_a_coarse_softmax_is_explained_and_the_second_call_compiles_nothing(tmp_path: Path) -> None:
    weights = {"w": random(6, 3, 3, 3), "v": random(64, 384, seed=3) * np.float32(0.1), "u": random(10, 64, seed=5)}
    biases = {"b": random(6, seed=1), "b2": random(64, seed=2), "b3": random(10, seed=6)}
    data = {"x": random(4, 3, 8, 8, seed=7)}
    graph = net(TEXT, **weights, **biases)
    hq.quantize(graph, data, scheme="w8a16", recipe="plain").export(tmp_path)
    report = hq.debug(tmp_path, data, workers=1)
    assert not report.without_target
    (finding,) = [f for f in report.findings if f.tensor == "t"]
    known = legality_table().errors_16["Softmax"]
    assert f"Softmax at 16 bits on this target is accurate to about {known} LSB" in finding.text
    assert "float16" in finding.fix
    assert report.first_target_leaves_simulation == "t"
    (binary,) = tmp_path.glob(".state/debug/*/shown.bin")
    made = binary.stat().st_mtime_ns
    again = hq.debug(tmp_path, data, mode="isolated", workers=1)
    assert binary.stat().st_mtime_ns == made
    assert again.first_target_leaves_simulation == "t"
    figures = {errors.name: errors.sim_target.db for _, errors in again.tensors}
    assert figures["t"] < figures["s"] and figures["y"] > figures["t"]
