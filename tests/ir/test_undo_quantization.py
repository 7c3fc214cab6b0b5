"""Networks that came quantized become the float networks that they stand for.

The truth is onnxruntime without optimisations on the quantized file; what is left between the two is its rounding of
activations, some 50 dB down. A lost Relu, scale or zero point would leave less than 20.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as oir
import pytest
from onnx_text import proto, random, run
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from hexaquant.frontends import load
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import float_network, normalize

CNN = """(float[1,3,12,12] x) => (float[1,4] y) {
a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) c = Conv<pads=[1,1,1,1]>(r, w2, b2) s = Add(c, r) k = Clip(s, low, high)
p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(k) t = Sigmoid(p) u = Concat<axis=1>(p, t)
m = GlobalAveragePool(u) f = Flatten(m) y = Gemm<transB=1>(f, w3, b3)}"""
CNN_WEIGHTS = {
    "w1": random(8, 3, 3, 3, seed=1) * 0.3, "b1": random(8, seed=2), "w2": random(8, 8, 3, 3, seed=3) * 0.2,
    "b2": random(8, seed=4), "w3": random(4, 16, seed=5), "b3": random(4, seed=6),
    "low": np.float32(0), "high": np.float32(6),
}  # fmt: skip
IMAGES = [{"x": random(1, 3, 12, 12, seed=10 + i)} for i in range(8)]

TAGGER = """(int64[1,6] i) => (float[1,6,5] y) {e = Gather(table, i) x = Transpose<perm=[1,0,2]>(e)
h, , = LSTM<hidden_size=16>(x, w, r, b) s = Squeeze(h, one) m = MatMul(s, w1) a = Add(m, b1) q = Relu(a)
n = MatMul(q, w2) z = Add(n, b2) y = Transpose<perm=[1,0,2]>(z)}"""
TAGGER_WEIGHTS = {
    "table": random(30, 16), "w": random(1, 64, 16, seed=1) * 0.3, "r": random(1, 64, 16, seed=2) * 0.3,
    "b": random(1, 128, seed=3) * 0.1, "one": np.array([1]), "w1": random(16, 24, seed=4), "b1": random(24, seed=5),
    "w2": random(24, 5, seed=6), "b2": random(5, seed=7),
}  # fmt: skip
IDS = [{"i": np.random.default_rng(i).integers(0, 30, (1, 6))} for i in range(8)]


class Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: list[dict[str, np.ndarray]]) -> None:
        self._left: Iterator[dict[str, np.ndarray]] = iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


def file(path: Path, text: str, weights: dict[str, np.ndarray]) -> Path:
    onnx.save(proto(text, 17, **weights), path)
    return path


def distance(path: Path, samples: list[dict[str, np.ndarray]], graph: Graph) -> float:
    """SQNR in dB of ``graph`` against the file."""
    wanted = np.stack([run(onnx.load(path), feeds)[0] for feeds in samples]).astype(np.float64)
    got = np.stack([run(graph, feeds)[0] for feeds in samples])
    return float(10 * np.log10(np.square(wanted).sum() / max(np.square(wanted - got).sum(), 1e-30)))


def is_float(graph: Graph) -> bool:
    words = ("Quantize", "QLinear", "Integer", "QGemm")
    return not any(word in node.op_type for node in graph.nodes for word in words)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
@pytest.mark.parametrize("kind", [QuantType.QUInt8, QuantType.QInt8])
def test_static_quantization_of_onnxruntime(tmp_path: Path, form: Any, per_channel: bool, kind: Any) -> None:
    source, path = file(tmp_path / "float.onnx", CNN, CNN_WEIGHTS), tmp_path / "net.onnx"
    quantize_static(source, path, Samples(IMAGES), quant_format=form, per_channel=per_channel, activation_type=kind)
    graph = float_network(load(path))
    assert is_float(graph) and distance(path, IMAGES, graph) > 35


def test_a_relu_that_the_quantizer_took_away_comes_back(tmp_path: Path) -> None:
    source, path = file(tmp_path / "float.onnx", CNN, CNN_WEIGHTS), tmp_path / "net.onnx"
    quantize_static(source, path, Samples(IMAGES))
    assert "Relu" not in [node.op_type for node in onnx.load(path).graph.node]
    kinds = [node.op_type for node in float_network(load(path)).nodes]
    assert kinds[:2] == ["Conv", "Clip"]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("network", ["cnn", "tagger"])
def test_dynamic_quantization_of_onnxruntime(tmp_path: Path, network: str, per_channel: bool) -> None:
    text, weights, samples = {"cnn": (CNN, CNN_WEIGHTS, IMAGES), "tagger": (TAGGER, TAGGER_WEIGHTS, IDS)}[network]
    source, path = file(tmp_path / "float.onnx", text, weights), tmp_path / "net.onnx"
    kinds = ["MatMul", "LSTM", "Gather", "Gemm", "Conv"]
    # Weights of 7 bits: on processors without VNNI onnxruntime's sums of 8 x 8 bits saturate, and are no truth.
    quantize_dynamic(source, path, per_channel=per_channel, reduce_range=True, op_types_to_quantize=kinds)
    graph = float_network(load(path))
    assert is_float(graph) and distance(path, samples, graph) > 35
    assert not [node for node in graph.nodes if node.domain]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_weights_of_few_bits_in_blocks(tmp_path: Path, bits: int, zeros: bool) -> None:
    rng = np.random.default_rng(0)
    q = rng.integers(0, 256, (8, 2, 32 * bits // 8)).astype(np.uint8)
    constants = {"q": q, "s": rng.random((8, 2)).astype(np.float32), "b": random(8)}
    if zeros:
        constants["z"] = rng.integers(0, 256, (8, -(-2 * bits // 8))).astype(np.uint8)
    operator = f"com.microsoft.MatMulNBits<K=64, N=8, bits={bits}, block_size=32>"
    text = f"(float[1,3,64] x) => (float y) {{m = {operator}(x, q, s{', z' if zeros else ''}) y = Add(m, b)}}"
    model = proto(text, 21, **constants)
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    graph = normalize(Graph(oir.from_proto(model), "test"))
    feeds = {"x": random(1, 3, 64)}
    assert [node.op_type for node in graph.nodes] == ["MatMul", "Add"]
    np.testing.assert_allclose(run(graph, feeds)[0], run(model, feeds)[0], rtol=1e-4, atol=1e-3)


def test_weights_alone_and_a_bias_of_int64_that_onnx_does_not_have() -> None:
    body = "w = DequantizeLinear<axis=0>(q, s, z) c = DequantizeLinear(b, t) y = Conv(x, w, c)"
    text = f"(float[1,3,8,8] x) => (float y) {{{body}}}"
    rng = np.random.default_rng(0)
    q, s = rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8), rng.random(4).astype(np.float32) / 50
    b, t = rng.integers(-(2**40), 2**40, 4), np.float32(2**-40)
    constants = {"q": q, "s": s, "z": np.zeros(4, np.int8), "b": b, "t": t}
    graph = float_network(normalize(Graph(oir.from_proto(proto(text, 17, **constants)), "test")))
    whole = "(float[1,3,8,8] x) => (float y) {y = Conv(x, w, c)}"
    wanted = proto(whole, 17, w=q.astype(np.float32) * s[:, None, None, None], c=(b * float(t)).astype(np.float32))
    feeds = {"x": random(1, 3, 8, 8)}
    np.testing.assert_allclose(run(graph, feeds)[0], run(wanted, feeds)[0], rtol=1e-4, atol=1e-5)


def test_a_linear_layer_as_aimet_writes_it_and_a_weight_that_is_quantized_in_the_file() -> None:
    text = """(float[1,32] x) => (float y) {a = QuantizeLinear(x, s, z) b = DequantizeLinear(a, s, z)
    q = QuantizeLinear<axis=0>(w, t, u) d = DequantizeLinear<axis=0>(q, t, u) e = Transpose<perm=[1,0]>(d)
    m = MatMul(b, e) y = Add(m, c)}"""
    constants = {"s": np.float32(0.03), "z": np.uint8(128), "w": random(8, 32), "c": random(8, seed=1)}
    constants |= {"t": np.full(8, 0.05, np.float32), "u": np.zeros(8, np.int8)}
    model = proto(text, 17, **constants)
    graph = float_network(normalize(Graph(oir.from_proto(model), "test")))
    assert [node.op_type for node in graph.nodes] == ["Gemm"]
    feeds = {"x": np.clip(random(1, 32), -3, 3)}
    np.testing.assert_allclose(run(graph, feeds)[0], run(model, feeds)[0], atol=0.3)
