"""Ten faults, each planted in a small network: each is found at its layer, mended where --fix can, and the same network
without it gives no such finding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest

import hexaquant as hq
from hexaquant.api.lint import Linted, lint, lint_and_fix
from hexaquant.core.encoding import Encoding

RNG = np.random.default_rng(7)
SMALL = {"x": RNG.standard_normal((8, 4, 12, 12)).astype(np.float32)}
TOKENS = {"x": RNG.standard_normal((8, 6, 16)).astype(np.float32)}


def model(text: str, **constants: Any) -> onnx.ModelProto:
    """ONNX text with every output of a node named, and ``constants`` as initializers."""
    made = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\ng {text}')
    for name, array in constants.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    for node in made.graph.node:
        node.name = f"n_{node.output[0]}"
    return made


def weight(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def run(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [np.asarray(out) for out in session.run(None, feeds)]


CONV = "Conv <pads=[1,1,1,1]>"
HEAD = "(float[N,4,12,12] x) => (float y) "
BN = {
    "g": weight(8, 1, seed=2)[:, 0] + 2,
    "b": weight(8, 1)[:, 0],
    "m": weight(8, 1)[:, 0],
    "v": np.full(8, 2, np.float32),
}


def dynamic_reshape(faulty: bool) -> onnx.ModelProto:
    target = (
        "s = Shape (p) h = Slice (s, zero, one) t = Concat <axis=0> (h, rest) " if faulty else "t = Identity (flat) "
    )
    text = f"{HEAD} {{ c = {CONV} (x, w) p = GlobalAveragePool (c) {target} f = Reshape (p, t) y = Gemm (f, k) }}"
    shapes = {"zero": [0], "one": [1], "rest": [8]} if faulty else {"flat": [0, 8]}
    arrays = {name: np.array(value, np.int64) for name, value in shapes.items()}
    return model(text, w=weight(8, 4, 3, 3), k=weight(8, 5), **arrays)


def unfolded_batchnorm(faulty: bool) -> onnx.ModelProto:
    norm = "n = BatchNormalization (c, g, b, m, v) y = Relu (n)" if faulty else "y = Relu (c)"
    return model(f"{HEAD} {{ c = {CONV} (x, w) {norm} }}", w=weight(8, 4, 3, 3), **(BN if faulty else {}))


def outlier_channel(faulty: bool) -> onnx.ModelProto:
    first, second = weight(16, 4, 3, 3), weight(8, 16, 1, 1)
    if faulty:
        first[5] *= 60
        second[:, 5] /= 60
    return model(f"{HEAD} {{ c = {CONV} (x, w) r = Relu (c) y = Conv (r, k) }}", w=first, k=second)


def product_on_v68(faulty: bool) -> onnx.ModelProto:
    return model(
        f"{HEAD} {{ c = {CONV} (x, w) r = Relu (c) y = Conv (r, k) }}", w=weight(8, 4, 3, 3), k=weight(4, 8, 1, 1)
    )


def attention(faulty: bool) -> onnx.ModelProto:
    text = """(float[N,6,16] x) => (float[N,6,16] y) {
        q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)
        t = Transpose <perm=[0,2,1]> (k) s = MatMul (q, t) p = Softmax <axis=-1> (s) y = MatMul (p, v) }"""
    return model(text, **{name: weight(16, 16, seed=i) for i, name in enumerate(("wq", "wk", "wv"))})


def transpose_chain(faulty: bool) -> onnx.ModelProto:
    there = "a = Transpose <perm=[0,2,3,1]> (c) r = Relu (a) d = Transpose <perm=[0,3,1,2]> (r)"
    middle = there if faulty else "d = Relu (c)"
    return model(f"{HEAD} {{ c = {CONV} (x, w) {middle} y = Conv (d, k) }}", w=weight(8, 4, 3, 3), k=weight(4, 8, 1, 1))


def decomposed_gelu(faulty: bool) -> onnx.ModelProto:
    parts = "d = Div (h, root) e = Erf (d) a = Add (e, one) m = Mul (h, a) g = Mul (m, half) "
    body = f"h = MatMul (x, w) {parts if faulty else 'g = Gelu (h)'} y = MatMul (g, k)"
    text = f"(float[N,6,16] x) => (float[N,6,16] y) {{ {body} }}"
    numbers = {"root": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)} if faulty else {}
    return model(text, w=weight(16, 32), k=weight(32, 16), **numbers)


def dead_branch(faulty: bool) -> onnx.ModelProto:
    extra = "z = Sigmoid (c) loss = ReduceMean (z)" if faulty else ""
    return model(f"{HEAD} {{ c = {CONV} (x, w) y = Relu (c) {extra} }}", w=weight(8, 4, 3, 3))


def long_tail(faulty: bool) -> onnx.ModelProto:
    """SiLU between two layers; the fault makes its largest inputs, 1 in 1000, a hundred times larger."""
    spike = "e = Sub (c, limit) r = Relu (e) f = Mul (r, big) h = Add (c, f)" if faulty else "h = Identity (c)"
    text = f"{HEAD} {{ c = {CONV} (x, w) {spike} s = Sigmoid (h) a = Mul (h, s) y = Conv (a, k) }}"
    numbers = {"limit": np.float32(3.3), "big": np.float32(100)} if faulty else {}
    return model(text, w=weight(8, 4, 3, 3), k=weight(4, 8, 1, 1), **numbers)


def calibrated() -> tuple[Any, dict[str, Encoding]]:
    """A network and the encodings that hexaquant gives it."""
    graph = hq.load(product_on_v68(False))
    quantized = hq.quantize(graph, SMALL, recipe="plain")
    return graph, quantized.encodings()


@dataclass(frozen=True)
class Fault:
    """``options``: of lint, for the faulty network and for its clean twin."""

    rule: str
    layer: str
    make: Callable[[bool], onnx.ModelProto]
    data: dict[str, np.ndarray] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    clean_options: dict[str, Any] | None = None
    fixed: bool = False


FAULTS = {
    "dynamic reshape": Fault("dynamic-reshape", "n_f", dynamic_reshape, SMALL, fixed=True),
    "unfolded BatchNorm": Fault("batchnorm", "n_n", unfolded_batchnorm, SMALL, fixed=True),
    "outlier channel": Fault("outlier-channel", "n_c", outlier_channel),
    "16-bit op on v68": Fault(
        "weak-16-bit",
        "n_y",
        product_on_v68,
        options={"target": "qcs6490", "overrides": {"n_y": "w8a16"}},
        clean_options={"target": "sm8650", "overrides": {"n_y": "w8a16"}},
    ),
    "coarse Softmax": Fault(
        "coarse-16-bit",
        "n_p",
        attention,
        options={"overrides": {"n_p": "w8a16"}},
        clean_options={"overrides": {"n_p": "fp16"}},
    ),
    "transpose chain": Fault("transpose-chain", "n_a", transpose_chain, SMALL, fixed=True),
    "decomposed GELU": Fault("decomposed-gelu", "n_g", decomposed_gelu, TOKENS, fixed=True),
    "dead branch": Fault("dead-branch", "n_loss", dead_branch, SMALL, fixed=True),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_at_its_layer(name: str) -> None:
    fault = FAULTS[name]
    found = lint(fault.make(True), **fault.options)
    told = found.of(fault.rule)
    assert told and fault.layer in {finding.layer.node for finding in told}, found.findings
    assert all(f.why and f.fix and f.text for f in told)
    assert all(f.fixable for f in told) == fault.fixed


@pytest.mark.parametrize("name", FAULTS)
def test_the_clean_twin_gives_no_such_finding_and_no_warning(name: str) -> None:
    fault = FAULTS[name]
    found = lint(fault.make(False), **(fault.clean_options or {}))
    assert not found.of(fault.rule)
    assert not [f for f in found.findings if f.severity != "info"], found.findings


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.fixed])
def test_fix_mends_it_and_the_outputs_stay(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    assert fault.data is not None
    onnx.save(fault.make(True), tmp_path / "before.onnx")
    mended: Linted = lint_and_fix(tmp_path / "before.onnx")
    assert fault.rule in {repair.rule for repair in mended.repairs if not repair.reason}
    mended.graph.save(tmp_path / "after.onnx")
    onnx.checker.check_model(tmp_path / "after.onnx", full_check=True)
    assert not lint(tmp_path / "after.onnx").of(fault.rule)
    for before, after in zip(run(tmp_path / "before.onnx", fault.data), run(tmp_path / "after.onnx", fault.data)):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())


def test_an_activation_with_a_long_tail_is_found_with_what_it_costs() -> None:
    told = lint(long_tail(True), data=SMALL).of("long-tail")
    silu = next(f for f in told if f.layer.node == "n_a")
    assert silu.severity == "warning" and silu.cost_db is not None and silu.cost_db < 30, silu
    assert "bounded activation" in silu.fix and "'a' reaches" in silu.text
    clean = lint(long_tail(False), data=SMALL)
    assert not [f for f in clean.findings if f.severity != "info"], clean.findings
    assert not clean.of("long-tail")


def test_a_wrong_encoding_is_found_in_an_activation_and_in_a_weight() -> None:
    graph, good = calibrated()
    clean = lint(graph, data=SMALL, encodings=good)
    assert not [f for f in clean.findings if f.severity != "info"], clean.findings
    for name, node, factor in (("r", "n_r", 0.05), ("r", "n_r", 30.0), ("k", "n_y", 20.0)):
        wrong = dict(good)
        encoding = good[name]
        wrong[name] = Encoding(encoding.grid, encoding.scale * factor, encoding.offset)
        told = lint(graph, data=SMALL, encodings=wrong).of("wrong-encoding")
        assert {(f.layer.node, f.tensor) for f in told if f.tensor == name} == {(node, name)}, (name, factor, told)
        assert all(f.severity == "error" for f in told)


def test_a_bias_that_does_not_follow_its_layer_is_found() -> None:
    graph, good = calibrated()
    biases = [name for name, e in good.items() if e.grid.bits == 32 and name in graph.initializers]
    if not biases:
        graph = hq.load(model(f"{HEAD} {{ y = {CONV} (x, w, b) }}", w=weight(8, 4, 3, 3), b=weight(8, 1)[:, 0]))
        good = hq.quantize(graph, SMALL, recipe="plain").encodings()
        biases = ["b"]
    wrong = dict(good)
    encoding = good[biases[0]]
    wrong[biases[0]] = Encoding(encoding.grid, encoding.scale * 3, encoding.offset)
    assert not lint(graph, encodings=good).of("wrong-encoding")
    assert [f.tensor for f in lint(graph, encodings=wrong).of("wrong-encoding")] == biases[:1]
