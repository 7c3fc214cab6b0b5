"""Cross-layer equalization: the function stays, the spread of the channels' ranges goes."""

from __future__ import annotations

import numpy as np
import pytest

from hexaquant.htp.for_target import prepare_for_target
from hexaquant.ir.graph import Graph
from hexaquant.transforms.channel_rules import find_scaling
from hexaquant.transforms.equalize_layers import Equalized, equalize_layers
from ir.onnx_text import assert_same, random, run
from ir.onnx_text import graph as parse
from sim.nets import net

SPREAD = np.exp(random(8, seed=50) * 1.5)


Outcome = tuple[Graph, Graph, Equalized]


def equalized(text: str, shape: tuple[int, ...] = (2, 3, 8, 8), **weights: np.ndarray) -> Outcome:
    """Before, after and what was done; the function is checked to stay the same to 1e-5."""
    before = net(text, **weights)
    prepare_for_target(before)
    after = before.clone()
    result = equalize_layers(after)
    assert_same(before, after, {"x": random(*shape, seed=9)})
    return before, after, result


def changed(before: Graph, after: Graph) -> set[str]:
    pairs = (
        (n, v.const_value.numpy(), after.initializers[n].const_value.numpy()) for n, v in before.initializers.items()
    )
    return {name for name, a, b in pairs if not np.array_equal(a, b)}


def ratio(graph: Graph, name: str, axis: int = 0) -> float:
    w = np.abs(np.moveaxis(graph.initializers[name].const_value.numpy(), axis, 0))
    rows = w.reshape(len(w), -1).max(1)
    return float(rows.max() / rows.min())


def pair(activation: str, **more: np.ndarray) -> Outcome:
    text = f"""(float[N,3,8,8] x) => (float[N,5,4,4] y) {{
        a = Conv (x, w, b)
        r = {activation}
        y = Conv (r, v, c)
    }}"""
    scale = SPREAD[:, None, None, None].astype(np.float32)
    weights = {"w": random(8, 3, 3, 3) * scale, "b": random(8, seed=1), "v": random(5, 8, 3, 3, seed=2), "c": random(5)}
    return equalized(text, **weights, **more)


@pytest.mark.parametrize("activation", ["Relu (a)", "LeakyRelu <alpha=0.1> (a)", "Identity (a)", "PRelu (a, s)"])
def test_two_layers_meet_at_the_geometric_mean(activation: str) -> None:
    more = {"s": np.abs(random(8, 1, 1))} if "PRelu" in activation else {}
    before, after, _ = pair(activation, **more)
    w, v = (np.abs(after.initializers[name].const_value.numpy()) for name in ("w", "v"))
    np.testing.assert_allclose(w.max((1, 2, 3)), v.max((0, 2, 3)), rtol=2e-3)
    assert ratio(after, "w") < ratio(before, "w") ** 0.6
    assert {"w", "b", "v"} <= changed(before, after)


@pytest.mark.parametrize("activation", ["Sigmoid (a)", "HardSwish (a)", "Clip (a, low, high)"])
def test_activations_that_do_not_commute_are_left_alone_with_a_reason(activation: str) -> None:
    more = {"low": np.float32(0), "high": np.float32(6)} if "Clip" in activation else {}
    before, after, result = pair(activation, **more)
    assert changed(before, after) == set()
    assert activation.split()[0] in " ".join(f"{k} {v}" for k, v in result.scaling.reasons.items()) or "bound 6" in str(
        result.scaling.reasons
    )


def test_relu6_is_crossed_only_where_calibration_stays_below_it() -> None:
    text = """(float[N,3,8,8] x) => (float[N,5,4,4] y) {
        a = Conv (x, w, b)
        r = Clip (a, low, high)
        y = Conv (r, v, c)
    }"""
    scale = SPREAD[:, None, None, None].astype(np.float32)
    weights = {"w": random(8, 3, 3, 3) * scale / 9, "b": random(8) / 9, "v": random(5, 8, 3, 3), "c": random(5)}
    before = net(text, **weights, low=np.float32(0), high=np.float32(6))
    after, x = before.clone(), np.clip(random(4, 3, 8, 8, seed=9), -2, 2)
    head = parse("(float[N,3,8,8] x) => (float[N,8,6,6] a) { a = Conv (x, w, b) }", w=weights["w"], b=weights["b"])
    maxima = run(head, {"x": x})[0].max((0, 2, 3)).astype(np.float64)
    free = maxima * 1.1 <= 6
    assert 0 < free.sum() < 8
    result = equalize_layers(after, clip_maxima={"a": maxima})
    assert_same(before, after, {"x": x})
    scales = result.scales[result.scaling.labels["a"].ravel()]
    assert ((scales != 1) == free).all() and (maxima / scales <= 6 + 1e-6)[free].all()


def test_a_depthwise_triple_is_balanced_on_both_sides() -> None:
    text = """(float[N,3,8,8] x) => (float[N,5,8,8] y) {
        a = Conv (x, w, b)
        ar = Relu (a)
        d = Conv <pads=[1,1,1,1], group=8> (ar, dw, db)
        dr = Relu (d)
        y = Conv (dr, v, c)
    }"""
    scale = SPREAD.astype(np.float32)[:, None, None, None]
    weights = {"w": random(8, 3, 1, 1) * scale, "b": random(8), "dw": random(8, 1, 3, 3) / scale, "db": random(8)}
    before, after, _ = equalized(text, **weights, v=random(5, 8, 1, 1), c=random(5))
    assert ratio(after, "w") < 3 and ratio(after, "dw") < 3 < 10 < ratio(before, "dw")


def test_grouped_and_transposed_convolutions() -> None:
    text = """(float[N,3,8,8] x) => (float[N,4,16,16] y) {
        a = ConvTranspose <strides=[2,2]> (x, w, b)
        ar = Relu (a)
        d = Conv <pads=[1,1,1,1], group=2> (ar, dw, db)
        dr = Relu (d)
        e = ConvTranspose <group=4> (dr, v, c)
        er = Relu (e)
        y = Conv (er, u, f)
    }"""
    scale = SPREAD.astype(np.float32)
    weights = {"w": random(3, 8, 2, 2) * scale[None, :, None, None], "b": random(8), "dw": random(8, 4, 3, 3)}
    weights |= {"db": random(8, seed=3), "v": random(8, 2, 1, 1) / scale[:, None, None, None], "c": random(8)}
    before, after, _ = equalized(text, **weights, u=random(4, 8, 1, 1), f=random(4))
    assert ratio(after, "w", axis=1) < ratio(before, "w", axis=1)
    assert {"w", "dw", "v", "u"} <= changed(before, after)


RESIDUAL = """(float[N,3,8,8] x) => (float[N,5,8,8] y) {
    a = Conv (x, w, b)
    ar = Relu (a)
    d = Conv <pads=[1,1,1,1]> (ar, dw, db)
    s = Add (ar, d)
    sr = Relu (s)
    y = Conv (sr, v, c)
}"""


def residual_weights() -> dict[str, np.ndarray]:
    scale = SPREAD.astype(np.float32)[:, None, None, None]
    weights = {"w": random(8, 3, 1, 1) * scale, "b": random(8), "dw": random(8, 8, 3, 3), "db": random(8)}
    return weights | {"v": random(5, 8, 1, 1), "c": random(5)}


def test_a_residual_stream_has_one_vector_of_scales() -> None:
    before, after, result = equalized(RESIDUAL, **residual_weights())
    labels = result.scaling.labels
    np.testing.assert_array_equal(labels["ar"], labels["d"])
    np.testing.assert_array_equal(labels["ar"], labels["sr"])
    assert {"w", "b", "dw", "db", "v"} <= changed(before, after)


def test_residuals_can_be_left_alone() -> None:
    graph = net(RESIDUAL, **residual_weights())
    scaling = find_scaling(graph, residuals=False)
    assert scaling.size == 1 and "left alone" in str(scaling.reasons)


def test_scales_pass_pooling_flattening_concatenation_and_gates() -> None:
    text = """(float[N,3,8,8] x) => (float[N,4] y) {
        a = Conv (x, w, b)
        ar = Relu (a)
        p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (ar)
        e = Conv (x, w3, b3)
        q = AveragePool <kernel_shape=[2,2], strides=[2,2]> (e)
        t = Concat <axis=1> (p, q)
        g = GlobalAveragePool (t)
        h = Conv (g, gw, gb)
        gate = Sigmoid (h)
        m = Mul (t, gate)
        f = Flatten (m)
        y = Gemm (f, v, c)
    }"""
    scale = SPREAD.astype(np.float32)[:, None, None, None]
    weights = {"w": random(8, 3, 3, 3) * scale, "b": random(8), "w3": random(2, 3, 3, 3), "b3": random(2)}
    weights |= {"gw": random(10, 10, 1, 1) / 5, "gb": random(10), "v": random(90, 4), "c": random(4)}
    before, after, _ = equalized(text, **weights)
    assert {"w", "w3", "gw", "v"} <= changed(before, after) and ratio(after, "w") < ratio(before, "w")


def test_tokens_are_rescaled_through_attention_heads_and_the_feed_forward_relu() -> None:
    text = """(float[N,4,6] x) => (float[N,4,6] y) {
        l = LayerNormalization <axis=-1> (x, g, be)
        q = MatMul (l, wq)
        k = MatMul (l, wk)
        v = MatMul (l, wv)
        shape = Constant <value = int64[4] {-1, 4, 2, 3}> ()
        flat = Constant <value = int64[3] {-1, 4, 6}> ()
        qh = Reshape (q, shape)
        kh = Reshape (k, shape)
        vh = Reshape (v, shape)
        qt = Transpose <perm=[0,2,1,3]> (qh)
        kt = Transpose <perm=[0,2,3,1]> (kh)
        vt = Transpose <perm=[0,2,1,3]> (vh)
        s = MatMul (qt, kt)
        p = Softmax <axis=-1> (s)
        o = MatMul (p, vt)
        ot = Transpose <perm=[0,2,1,3]> (o)
        of = Reshape (ot, flat)
        z = MatMul (of, wo)
        u = MatMul (z, w1)
        ur = Relu (u)
        y = MatMul (ur, w2)
    }"""
    scale = SPREAD[:6].astype(np.float32)
    weights = {name: random(6, 6, seed=i) for i, name in enumerate(("wq", "wk", "wo"))}
    weights |= {"wv": random(6, 6, seed=7) * scale, "w1": random(6, 6, seed=8) * scale, "w2": random(6, 6, seed=9)}
    before, after, _ = equalized(text, (2, 4, 6), **weights, g=random(6) + 3, be=random(6))
    assert {"wv", "wo", "w1", "w2", "g", "be"} <= changed(before, after)
    assert ratio(after, "w1", 1) < ratio(before, "w1", 1) and ratio(after, "wv", 1) < ratio(before, "wv", 1)


def test_shared_weights_and_graph_outputs_are_left_alone() -> None:
    text = """(float[N,4,5,5] x) => (float[N,4,5,5] y, float[N,4,5,5] r) {
        a = Conv (x, w)
        r = Relu (a)
        y = Conv (r, w)
    }"""
    before, after, _ = equalized(text, (2, 4, 5, 5), w=random(4, 4, 1, 1))
    assert changed(before, after) == set()


@pytest.mark.parametrize("tail", ["Div (one, r)", "Exp (r)", "Add (r, one)"])
def test_operators_that_do_not_commute_pin_what_they_read(tail: str) -> None:
    text = f"""(float[N,3,4,4] x) => (float[N,2,4,4] y) {{
        a = Conv (x, w, b)
        r = Relu (a)
        t = {tail}
        y = Conv (t, v, c)
    }}"""
    weights = {"w": random(4, 3, 1, 1) * 5, "b": np.abs(random(4)) + 90, "v": random(2, 4, 1, 1), "c": random(2)}
    before, after, _ = equalized(text, (2, 3, 4, 4), **weights, one=np.float32(1))
    assert changed(before, after) == set()


def test_dead_channels_stay() -> None:
    text = "(float[N,3,4,4] x) => (float[N,2,4,4] y) { a = Conv (x, w, b)\n r = Relu (a)\n y = Conv (r, v, c) }"
    w, v = random(4, 3, 1, 1), random(2, 4, 1, 1)
    w[0], v[:, 1] = 0, 0
    _, after, result = equalized(text, (2, 3, 4, 4), w=w, b=random(4), v=v, c=random(2))
    assert (result.scales[result.scaling.labels["a"].ravel()[:2]] == 1).all()
    assert all(np.isfinite(value.const_value.numpy()).all() for value in after.initializers.values())
