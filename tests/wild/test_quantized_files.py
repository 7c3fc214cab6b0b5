"""Networks that came quantized, fused or in newer opsets: deployed as they are, against the file itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wild import deployed, normal, written

LEAST = {"w8a8": 28.0, "w8a16": 33.0}
SCHEMES = list(LEAST)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_behind_a_dequantizer(tmp_path: Path, scheme: str) -> None:
    rng = np.random.default_rng(0)
    constants = {"q": rng.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8), "s": np.full(8, 0.01, np.float32)}
    body = "{w = DequantizeLinear<axis=0>(q, s) y = Conv<pads=[1,1,1,1]>(x, w)}"
    text = f"(float[1,3,12,12] x) => (float[1,8,12,12] y) {body}"
    path = written(tmp_path / "net.onnx", text, **constants)
    samples = [{"x": normal(24, 3, 12, 12, seed=s)} for s in (1, 2)]
    assert deployed(path, tmp_path / "out", scheme, *samples)["y"] > LEAST[scheme]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_network_with_its_own_quantizers(tmp_path: Path, scheme: str) -> None:
    rng = np.random.default_rng(0)
    text = """(float[1,32] x) => (float[1,10] y) {a = QuantizeLinear(x, s, z) b = DequantizeLinear(a, s, z)
    d = DequantizeLinear<axis=0>(q, t) e = Transpose<perm=[1,0]>(d) m = MatMul(b, e) n = Add(m, c)
    f = QuantizeLinear(n, u, v) g = DequantizeLinear(f, u, v) y = MatMul(g, w)}"""
    constants = {
        "s": np.float32(0.03), "z": np.uint8(128), "q": rng.integers(-127, 128, (48, 32)).astype(np.int8),
        "t": np.full(48, 0.003, np.float32), "c": normal(48, size=0.1), "u": np.float32(0.02), "v": np.uint8(0),
        "w": normal(48, 10, size=0.2),
    }  # fmt: skip
    path = written(tmp_path / "net.onnx", text, **constants)
    samples = [{"x": normal(32, 32, seed=s)} for s in (1, 2)]
    # 3 below what the float network that it stands for gives (23.3 at w8a8)
    assert deployed(path, tmp_path / "out", scheme, *samples)["y"] > {"w8a8": 20, "w8a16": 25}[scheme]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_fusions_of_onnxruntime(tmp_path: Path, scheme: str) -> None:
    text = """(float[1,8,24] x) => (float[1,8,6] y) {
    l = com.microsoft.SkipLayerNormalization(x, x, g, b) h = com.microsoft.BiasGelu(l, b)
    m = com.microsoft.FusedMatMul<alpha=0.5, transB=1>(h, w) y = com.microsoft.QuickGelu(m)}"""
    path = written(
        tmp_path / "net.onnx", text, g=np.abs(normal(24)) + 1, b=normal(24, seed=1), w=normal(6, 24, size=0.3)
    )
    samples = [{"x": normal(24, 8, 24, seed=s)} for s in (1, 2)]
    assert deployed(path, tmp_path / "out", scheme, *samples)["y"] > LEAST[scheme] - 4


@pytest.mark.parametrize("scheme", SCHEMES)
def test_attention_of_opset_23(tmp_path: Path, scheme: str) -> None:
    text = """(float[1,6,16] x) => (float[1,6,32] y) {q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv)
    y = Attention<is_causal=1, kv_num_heads=2, q_num_heads=4>(q, k, v)}"""
    weights = {
        "wq": normal(16, 32, size=0.2),
        "wk": normal(16, 16, seed=1, size=0.2),
        "wv": normal(16, 16, seed=2, size=0.2),
    }
    path = written(tmp_path / "net.onnx", text, 23, 11, **weights)
    samples = [{"x": normal(24, 6, 16, seed=s)} for s in (1, 2)]
    assert deployed(path, tmp_path / "out", scheme, *samples)["y"] > {"w8a8": 20, "w8a16": 36}[scheme]
