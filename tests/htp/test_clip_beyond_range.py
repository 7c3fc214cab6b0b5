"""A Clip(0, 6) behind a convolution that is quantized by itself and ends below 6, as TFLite's 16x8 files have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hexaquant.core.metrics import sqnr_db
from hexaquant.htp.faults import mend_or_refuse
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.lower import lower
from hexaquant.qnn.runtime import Runtime
from ir.onnx_text import assert_same, graph, random, run
from qnn.compiled import ARCH, SOC


def clipped(zero: np.generic, scale: float, high: float) -> Graph:
    """Both the convolution and the Clip(0, ``high``) on the grid of ``scale`` and ``zero``."""
    text = """q = QuantizeLinear (x, s, z) v = DequantizeLinear (q, s, z) k = DequantizeLinear (w, t, o)
    c = Conv <pads = [1,1,1,1]> (v, k) d = QuantizeLinear (c, s, z) e = DequantizeLinear (d, s, z)
    u = Clip (e, l, h) r = QuantizeLinear (u, s, z) y = DequantizeLinear (r, s, z)"""
    weights = np.random.default_rng(1).integers(-127, 127, (8, 3, 3, 3)).astype(np.int8)
    more = {"s": np.float32(scale), "z": zero, "w": weights, "t": np.float32(0.002), "o": np.int8(0)}
    more |= {"l": np.float32(0), "h": np.float32(high)}
    return normalize(graph(f"(float[1,3,16,16] x) => (float[1,8,16,16] y) {{ {text} }}", **more))


def db_on_target(model: Graph, folder: Path) -> float:
    feeds = {"x": random(1, 3, 16, 16)}
    model.save(folder / "model.onnx")
    lower(folder / "model.onnx", folder / "model.dlc", SOC, ARCH, float_io=True)
    compile_dlc(folder / "model.dlc", folder / "model.bin", SOC, ARCH)
    with Runtime(folder / "model.bin") as runtime:
        return sqnr_db(run(model, feeds)[0], runtime.run(feeds)["y"])


@pytest.mark.parametrize(("zero", "scale"), [(np.uint8(128), 0.02), (np.uint16(32768), 7.8e-5)])
def test_lowering_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zero: np.generic, scale: float) -> None:
    model = clipped(zero, scale, 6.0)
    mended = model.clone()
    assert mend_or_refuse(mended.model, "test", ARCH)["clip-beyond-range"] == 1
    assert_same(model, mended, {"x": random(1, 3, 16, 16)})
    assert db_on_target(model, tmp_path) > 35
    monkeypatch.setattr("hexaquant.qnn.lower.mend_or_refuse", lambda *_: {})
    assert db_on_target(model, tmp_path) < 10


def test_a_bound_within_the_encoding_stays() -> None:
    assert mend_or_refuse(clipped(np.uint8(128), 0.02, 1.0).model, "test", ARCH)["clip-beyond-range"] == 0
