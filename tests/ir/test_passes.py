"""Each pass: the case it is for, the cases it must decline, and numerical equality throughout."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnx_ir as oir
import pytest
from onnx_text import assert_same, graph, ops, random

from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.ir.passes.fold_batchnorm import decline_reason

BN = {"g": random(4, seed=2), "b": random(4, seed=3), "m": random(4, seed=4), "v": np.abs(random(4, seed=5)) + 0.5}
X4 = {"x": random(2, 4, 6, 6)}


def normalized(text: str, feeds: dict[str, np.ndarray], opset: int = 21, **constants: np.ndarray) -> Graph:
    before = graph(text, opset, **constants)
    after = normalize(before)
    onnx.checker.check_model(oir.to_proto(after.model))
    assert_same(before, after, feeds)
    return after


@pytest.mark.parametrize(
    "layer",
    [
        "Conv<pads = [1,1,1,1]>(x, W)",
        "Conv<pads = [1,1,1,1]>(x, W, B)",
        "Conv<group = 2>(x, G)",
        "Conv<group = 4>(x, D, B)",
        "ConvTranspose<strides = [2, 2]>(x, W)",
        "ConvTranspose<group = 2>(x, T, B)",
    ],
)
def test_batchnorm_folds_into_convolutions(layer: str) -> None:
    shapes = {"W": (4, 4, 3, 3), "G": (4, 2, 3, 3), "D": (4, 1, 3, 3), "T": (4, 2, 3, 3), "B": (4,)}
    used = {k: random(*s, seed=i) for i, (k, s) in enumerate(shapes.items()) if f" {k}" in layer}
    text = f"(float[N,4,6,6] x) => (float y) {{ c = {layer} y = BatchNormalization(c, g, b, m, v) }}"
    before = graph(text, 21, **BN, **used)
    after = normalize(before)
    assert_same(before, after, X4, rtol=2e-6)
    assert len(ops(after)) == 1
    weight = after.nodes[0].inputs[1]
    assert weight is not None and weight.name in used
    assert after.nodes[0].outputs[0].name == "y"


def test_batchnorm_folds_into_gemm() -> None:
    text = "(float[N,3] x) => (float[N,4] y) { c = Gemm<transB = 1>(x, W) y = BatchNormalization(c, g, b, m, v) }"
    after = normalized(text, {"x": random(2, 3)}, W=random(4, 3), **BN)
    assert ops(after) == ["Gemm"]


def test_new_bias_is_named_after_the_weight() -> None:
    text = "(float[N,4,6,6] x) => (float y) { c = Conv(x, W) y = BatchNormalization(c, g, b, m, v) }"
    before = graph(text, 21, **BN, W=random(4, 4, 3, 3))
    before.value("W").name = "conv1.weight"
    assert [v.name for v in normalize(before).nodes[0].inputs] == ["x", "conv1.weight", "conv1.bias"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("c = Conv(x, W) z = Relu(c) n = BatchNormalization(c, g, b, m, v) y = Add(z, n)", "also used elsewhere"),
        ("c = Conv(x, W) d = Conv(x, W) n = BatchNormalization(c, g, b, m, v) y = Add(n, d)", "shared"),
        ("r = Relu(x) y = BatchNormalization(r, g, b, m, v)", "does not follow"),
    ],
)
def test_batchnorm_declines_with_a_reason_and_becomes_mul_add(text: str, reason: str) -> None:
    constants = dict(BN, **({"W": random(4, 4, 3, 3)} if "W" in text else {}))
    before = graph(f"(float[N,4,6,6] x) => (float y) {{ {text} }}", 21, **constants)
    node = next(n for n in before.nodes if n.op_type == "BatchNormalization")
    assert reason in (decline_reason(node) or "")
    after = normalize(before)
    assert "BatchNormalization" not in ops(after) and "Mul" in ops(after)
    assert_same(before, after, X4)


def test_pad_folds_into_the_only_conv_behind_it() -> None:
    text = "(float[N,4,6,6] x) => (float y) { p = Pad(x, a) y = Conv<strides = [2, 2], pads = [1,0,0,0]>(p, W) }"
    amounts = np.array([0, 0, 0, 1, 0, 0, 1, 2], np.int64)
    after = normalized(text, X4, a=amounts, W=random(4, 4, 3, 3))
    assert ops(after) == ["Conv"]
    assert list(after.nodes[0].attributes["pads"].as_ints()) == [1, 1, 1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "p = Pad(x, a, c) y = Conv(p, W)",
        'p = Pad<mode = "reflect">(x, a) y = Conv(p, W)',
        "p = Pad(x, a) q = Conv(p, W) r = Conv(p, W) y = Add(q, r)",
    ],
)
def test_pad_stays_when_folding_would_change_the_values(text: str) -> None:
    constants = {"a": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "W": random(4, 4, 3, 3)}
    if "c)" in text:
        constants["c"] = np.array(1.0, np.float32)
    after = normalized(f"(float[N,4,6,6] x) => (float y) {{ {text} }}", X4, **constants)
    assert "Pad" in ops(after)


@pytest.mark.parametrize(
    "product",
    [
        "t = Mul(x, a) y = Mul(t, half)",
        "t = Mul(a, half) y = Mul(x, t)",
        "t = Mul(half, x) y = Mul(t, a)",
    ],
)
def test_gelu_forms_in_any_order(product: str) -> None:
    text = f"(float[N,5] x) => (float[N,5] y) {{ d = Div(x, r) e = Erf(d) a = Add(e, one) {product} }}"
    numbers = {"r": 2**0.5, "one": 1.0, "half": 0.5}
    after = normalized(text, {"x": random(3, 5)}, **{k: np.array(v, np.float32) for k, v in numbers.items()})
    assert ops(after) == ["Gelu"]


def test_gelu_declines_other_constants() -> None:
    text = (
        "(float[N,5] x) => (float[N,5] y) { d = Div(x, r) e = Erf(d) a = Add(e, one) t = Mul(x, a) y = Mul(t, half) }"
    )
    numbers = {"r": 2**0.5, "one": 1.0, "half": 0.6}
    after = normalized(text, {"x": random(3, 5)}, **{k: np.array(v, np.float32) for k, v in numbers.items()})
    assert "Gelu" not in ops(after)


LAYERNORM = """(float[N,3,8] x) => (float[N,3,8] y) {
  mu = ReduceMean(x, axes) d = Sub(x, mu) s = Pow(d, two) var = ReduceMean(s, axes) ve = Add(var, eps)
  r = Sqrt(ve) n = Div(d, r) %s }"""


@pytest.mark.parametrize("tail", ["t = Mul(n, g) y = Add(t, b)", "y = Mul(g, n)", "y = Identity(n)"])
@pytest.mark.parametrize("axis", [-1, 2])
def test_layernorm_forms(tail: str, axis: int) -> None:
    constants = {"axes": np.array([axis], np.int64), "two": np.array(2, np.float32), "eps": np.array(1e-5, np.float32)}
    constants |= {k: random(8, seed=i) for i, k in enumerate("gb") if k in tail}
    after = normalized(LAYERNORM % tail, {"x": random(2, 3, 8)}, **constants)
    assert ops(after) == ["LayerNormalization"]


def test_layernorm_over_another_axis_is_left_alone() -> None:
    constants = {"axes": np.array([1], np.int64), "two": np.array(2, np.float32), "eps": np.array(1e-5, np.float32)}
    after = normalized(LAYERNORM % "y = Identity(n)", {"x": random(2, 3, 8)}, **constants)
    assert "LayerNormalization" not in ops(after)


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("t = Mul(x, c) y = Div(t, six)", ["HardSwish"]),
        ("t = Div(c, six) y = Mul(x, t)", ["HardSwish"]),
        ("y = Div(c, six)", ["HardSigmoid"]),
    ],
)
def test_hardswish_and_hardsigmoid_form(tail: str, expected: list[str]) -> None:
    text = f"(float[N,5] x) => (float[N,5] y) {{ a = Add(x, three) c = Clip(a, zero, six) {tail} }}"
    numbers = {"three": 3.0, "zero": 0.0, "six": 6.0}
    feeds = {"x": 4 * random(3, 5)}
    after = normalized(text, feeds, **{k: np.array(v, np.float32) for k, v in numbers.items()})
    assert ops(after) == expected


def test_silu_stays_mul_and_sigmoid() -> None:
    after = normalized("(float[N,5] x) => (float[N,5] y) { s = Sigmoid(x) y = Mul(x, s) }", {"x": random(3, 5)})
    assert ops(after) == ["Sigmoid", "Mul"]


def test_matmul_add_of_rank_2_becomes_gemm_and_of_rank_3_stays() -> None:
    constants = {"w": random(5, 4), "b": random(4)}
    two = normalized(
        "(float[N,5] x) => (float[N,4] y) { t = MatMul(x, w) y = Add(b, t) }", {"x": random(3, 5)}, **constants
    )
    assert ops(two) == ["Gemm"] and [v.name for v in two.nodes[0].inputs] == ["x", "w", "b"]
    text = "(float[N,2,5] x) => (float[N,2,4] y) { t = MatMul(x, w) y = Add(t, b) }"
    assert ops(normalized(text, {"x": random(3, 2, 5)}, **constants)) == ["MatMul", "Add"]


def test_gemm_factors_go_into_the_constants() -> None:
    text = "(float[N,5] x) => (float[N,4] y) { y = Gemm<alpha = 0.5, beta = 2.0>(x, w, b) }"
    after = normalized(text, {"x": random(3, 5)}, w=random(5, 4), b=random(4))
    assert not {"alpha", "beta"} & set(after.nodes[0].attributes)


def test_mean_over_the_image_becomes_global_pooling() -> None:
    text = "(float[N,4,6,6] x) => (float[N,4,1,1] y) { y = ReduceMean(x, a) }"
    assert ops(normalized(text, X4, a=np.array([-1, -2], np.int64))) == ["GlobalAveragePool"]


def test_identities_vanish_but_input_to_output_stays() -> None:
    text = """(float[N,4] x) => (float[N,4] y, float[N,4] z) {
      a = Identity(x) b = Dropout(a) c = Cast<to = 1>(b) d = Transpose<perm = [0, 1]>(c) e = Mul(d, one)
      f = Relu(e) y = Identity(f) z = Identity(x) }"""
    after = normalized(text, {"x": random(3, 4)}, one=np.array(1, np.float32))
    assert ops(after) == ["Relu", "Identity"]
    assert [v.name for v in after.outputs] == ["y", "z"]


def test_dead_branches_and_unread_constants_vanish() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { y = Relu(x) t = Neg(x) u = Add(t, w) }"
    after = normalized(text, {"x": random(3, 4)}, w=random(4))
    assert ops(after) == ["Relu"] and not after.initializers


def test_functions_are_inlined() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18, "local" : 1]>
        g (float[N,4] x) => (float[N,4] y) { a = local.twice(x) y = local.twice(a) }
        <domain: "local", opset_import: ["" : 18]> twice (p) => (q) { q = Add(p, p) }"""
    )
    after = normalize(Graph(oir.from_proto(model), "f"))
    assert ops(after) == ["Add", "Add"] and not after.model.functions
    assert_same(model, after, {"x": random(3, 4)})


def test_unnamed_nodes_and_values_get_unique_names() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { a = Relu(x) b = Neg(a) y = Exp(b) }"
    before = graph(text)
    for node in before.nodes:
        node.name = "same"
    after = normalize(before)
    names = [node.name for node in after.nodes]
    assert len(set(names)) == 3 and all(names)
    assert all(v.name for node in after.nodes for v in node.outputs)


def test_zero_initial_states_of_an_lstm_are_dropped_with_a_symbolic_batch() -> None:
    text = """(float[7,N,3] x) => (float[7,1,N,2] y) {
      s = Shape<start = 1, end = 2>(x) t = Concat<axis = 0>(one, s, two) h = Expand(zero, t)
      y = LSTM<hidden_size = 2>(x, w, r, b, , h, h) }"""
    constants = {
        "w": random(1, 8, 3), "r": random(1, 8, 2), "b": random(1, 16), "zero": np.array(0, np.float32),
        "one": np.array([1], np.int64), "two": np.array([2], np.int64),
    }  # fmt: skip
    after = normalized(text, {"x": random(7, 4, 3)}, **constants)
    assert ops(after) == ["LSTM"]


def test_batched_transpose_through_three_dimensions_becomes_one_transpose() -> None:
    text = """(float[N,2,3,5] x) => (float[N,2,5,3] y) {
      a = Reshape(x, three) t = Transpose<perm = [0, 2, 1]>(a) s = Shape(x) b = Slice(s, i0, i2)
      u = Concat<axis = 0>(b, tail) y = Reshape(t, u) }"""
    constants = {
        "three": np.array([-1, 3, 5], np.int64),
        "i0": np.array([0], np.int64),
        "i2": np.array([2], np.int64),
        "tail": np.array([5, 3], np.int64),
    }
    after = normalized(text, {"x": random(4, 2, 3, 5)}, **constants)
    assert ops(after) == ["Transpose"]


def test_two_transposes_become_one_unless_the_first_is_read_elsewhere() -> None:
    pair = "t = Transpose<perm = [1, 2, 0]>(x) y = Transpose<perm = [0, 2, 1]>(t)"
    after = normalized(f"(float[2,3,5] x) => (float[3,2,5] y) {{ {pair} }}", {"x": random(2, 3, 5)})
    assert ops(after) == ["Transpose"]
    shared = f"(float[2,3,5] x) => (float[3,2,5] y, float[3,5,2] z) {{ {pair} z = Relu(t) }}"
    assert ops(normalized(shared, {"x": random(2, 3, 5)})) == ["Transpose", "Transpose", "Relu"]


@pytest.mark.parametrize("sizes", [np.array(2, np.int64), np.array([2, 2, 1], np.int64)], ids=["size", "list"])
def test_sequence_of_parts_becomes_split(sizes: np.ndarray) -> None:
    text = """(float[N,5] x) => (float[N,2] y, float[N,1] z) {
      s = SplitToSequence<axis = 1>(x, sizes) a = SequenceAt(s, zero) y = Relu(a) z = SequenceAt(s, last) }"""
    constants = {"sizes": sizes, "zero": np.array(0, np.int64), "last": np.array(-1, np.int64)}
    after = normalized(text, {"x": random(3, 5)}, **constants)
    assert ops(after) == ["Split", "Relu"]


@pytest.mark.parametrize("shape", [(2, 4, 6, 6), (2, 4, 5)])
def test_groupnorm_becomes_instancenorm(shape: tuple[int, ...]) -> None:
    dims = ",".join(["N", *map(str, shape[1:])])
    text = f"(float[{dims}] x) => (float[{dims}] y) {{ y = GroupNormalization<num_groups = 2>(x, g, b) }}"
    after = normalized(text, {"x": random(*shape)}, g=BN["g"], b=BN["b"])
    assert ops(after) == ["Reshape", "InstanceNormalization", "Reshape", "Mul", "Add"]


def test_groupnorm_of_opset_18_gets_one_scale_a_channel() -> None:
    text = "(float[N,4,6,6] x) => (float[N,4,6,6] y) { y = GroupNormalization<num_groups = 2>(x, g, b) }"
    constants = {"g": random(2, seed=1), "b": random(2, seed=2)}
    per_channel = {k: np.repeat(v, 2) for k, v in constants.items()}
    assert_same(normalize(graph(text, 21, **per_channel)), normalize(graph(text, 18, **constants)), X4)


def test_zeros_that_are_no_bias_are_left_out() -> None:
    """PyTorch's exporter writes them for Conv3d without a bias."""
    text = "(float[1,2,3,4,4] x) => (float y) { c = Conv (x, W, Z) y = BatchNormalization (c, g, b, m, v) }"
    after = normalize(graph(text, W=random(4, 2, 1, 1, 1), Z=np.zeros((4, 2), np.float32), **BN))
    assert ops(after) == ["Conv"] and len(after.nodes[0].inputs) == 3
    plain = graph(text.replace(", Z", ""), W=random(4, 2, 1, 1, 1), **BN)
    assert_same(plain, after, {"x": random(1, 2, 3, 4, 4)}, rtol=2e-6)
