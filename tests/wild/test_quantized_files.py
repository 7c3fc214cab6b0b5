"""Networks that came quantized, fused or in newer opsets: deployed as they are, against the file itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import hexaquant as hq
from hexaquant.folder.manifest import read_manifest
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


INT8 = np.random.default_rng(5).integers(-127, 128, (8, 24)).astype(np.int8)
STEPS = np.random.default_rng(6).uniform(0.004, 0.02, 8).astype(np.float32)
CAME = {
    "per channel, turned": (
        "d = DequantizeLinear<axis=0>(q, s) e = Transpose<perm=[1,0]>(d) y = MatMul(x, e)",
        {"q": INT8, "s": STEPS},
    ),
    "one step, uint8 around 128": (
        "d = DequantizeLinear(q, s, z) e = Transpose<perm=[1,0]>(d) y = MatMul(x, e)",
        {"q": (INT8.astype(np.int16) + 128).astype(np.uint8), "s": STEPS[:1].reshape(()), "z": np.uint8(128)},
    ),
    "dynamic": (
        "a, b, c = DynamicQuantizeLinear(x) i = MatMulInteger(a, q, c) f = Cast<to=1>(i) t = Mul(b, s) y = Mul(f, t)",
        {"q": np.ascontiguousarray(INT8.T), "s": STEPS},
    ),
    "QLinear": (
        "a = QuantizeLinear(x, u, v) i = QLinearMatMul(a, u, v, q, s, z, u, v) y = DequantizeLinear(i, u, v)",
        {
            "q": np.ascontiguousarray(INT8.T), "s": STEPS, "z": np.zeros(8, np.int8), "u": np.float32(0.05),
            "v": np.uint8(120),
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("recipe", ["fast", "best"])
@pytest.mark.parametrize("kind", CAME)
def test_weights_keep_the_integers_and_steps_that_they_came_with(tmp_path: Path, kind: str, recipe: str) -> None:
    body, constants = CAME[kind]
    path = written(tmp_path / "net.onnx", f"(float[1,24] x) => (float[1,8] y) {{{body}}}", **constants)
    data = [{"x": one} for one in normal(24, 1, 24, seed=1)]
    quantized = hq.quantize(str(path), data, target="sm8650", recipe=recipe)
    quantized.export(tmp_path / "out")
    model = onnx.load(tmp_path / "out" / "model.qdq.onnx")
    found = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    inputs = next(
        n.input for n in model.graph.node if n.op_type == "DequantizeLinear" and found.get(n.input[0], STEPS).ndim == 2
    )
    integers = found[inputs[0]]
    assert np.array_equal(integers if integers.shape == INT8.shape else integers.T, INT8)
    assert np.array_equal(found[inputs[1]], np.broadcast_to(constants["s"], 8))


def test_four_bits_keep_their_numbers_in_eight(tmp_path: Path) -> None:
    q = np.clip(INT8, -8, 7)
    constants = {"q": q, "s": STEPS}
    body = "{d = DequantizeLinear<axis=0>(q, s) e = Transpose<perm=[1,0]>(d) y = MatMul(x, e)}"
    path = written(tmp_path / "net.onnx", f"(float[1,24] x) => (float[1,8] y) {body}", **constants)
    model = hq.quantize(str(path), [{"x": one} for one in normal(24, 1, 24, seed=1)], target="sm8650")
    weight = next(plan.name for plan in model.plan if plan.role == "weight")
    kept = model.quantizers[weight](model.parameters_by_name()[weight]).detach().numpy()
    wanted = q * STEPS[:, None]
    assert np.array_equal(kept if kept.shape == wanted.shape else kept.T, wanted)


def test_weights_that_fit_no_grid_of_the_target_are_quantized_anew_and_named(tmp_path: Path) -> None:
    q = np.random.default_rng(5).integers(0, 256, (8, 24)).astype(np.uint8)
    body = "{d = DequantizeLinear(q, s, z) e = Transpose<perm=[1,0]>(d) y = MatMul(x, e)}"
    path = written(
        tmp_path / "net.onnx", f"(float[1,24] x) => (float[1,8] y) {body}", q=q, s=np.float32(0.01), z=np.uint8(20)
    )
    data = {"x": normal(24, 24, seed=1)}
    deployed(path, tmp_path / "out", "w8a8", data, data)
    notes = read_manifest(tmp_path / "out").quantization.notes
    assert notes[-1].startswith("0 of 1 quantized weights have the encoding that they came with; quantized anew: ")
