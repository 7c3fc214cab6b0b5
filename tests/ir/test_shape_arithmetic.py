"""Chains of shape arithmetic fold, with static and with symbolic dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_text import assert_same, graph, ops, random

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph, constant, shape_of
from hexaquant.ir.normalize import freeze_batch, normalize

I64 = {f"i{n}".replace("-", "m"): np.array([n], np.int64) for n in (-1, 0, 1, 2, 3, 4)}


def ints(*names: str) -> dict[str, np.ndarray]:
    return {name: I64[name] for name in names}


def reshape_target(model: Graph) -> list[int]:
    node = next(n for n in model.nodes if n.op_type == "Reshape")
    data = constant(node.inputs[1])
    assert data is not None
    return data.tolist()


def test_reshape_by_shape_gather_concat_gets_a_constant_target() -> None:
    text = """(float[N,4,6,6] x) => (float y) {
      s = Shape(x) n = Gather<axis = 0>(s, zero) u = Unsqueeze(n, i0)
      t = Concat<axis = 0>(u, im1) y = Reshape(x, t) }"""
    before = graph(text, zero=np.array(0, np.int64), **ints("i0", "im1"))
    after = normalize(before)
    assert ops(after) == ["Reshape"] and reshape_target(after) == [0, -1]
    assert shape_of(after.outputs[0]) == ("N", 144)
    assert_same(before, after, {"x": random(3, 4, 6, 6)})


def test_reshape_that_merges_the_batch_gets_minus_one() -> None:
    text = """(float[N,4,6] x) => (float y) {
      s = Shape(x) n = Slice(s, i0, i1) m = Mul(n, i4) t = Concat<axis = 0>(m, six) y = Reshape(x, t) }"""
    before = graph(text, six=np.array([6], np.int64), **ints("i0", "i1", "i4"))
    after = normalize(before)
    assert reshape_target(after) == [-1, 6]
    assert shape_of(after.outputs[0]) == ("4*N", 6)
    assert_same(before, after, {"x": random(3, 4, 6)})


def test_reshape_with_two_unknown_products_stays_dynamic() -> None:
    text = """(float[N,M,6] x) => (float y) {
      s = Shape(x) n = Slice(s, i0, i1) m = Slice(s, i1, i2)
      a = Mul(n, i2) b = Mul(m, i3) t = Concat<axis = 0>(a, b) y = Reshape(x, t) }"""
    before = graph(text, **ints("i0", "i1", "i2", "i3"))
    after = normalize(before)
    assert "Shape" in ops(after)
    assert_same(before, after, {"x": random(3, 4, 6)})


def test_dynamic_pad_chain_of_same_padding_folds_into_the_conv() -> None:
    text = """(float[N,4,7,9] x) => (float y) {
      s = Shape(x) h = Gather<axis = 0>(s, i2) w = Gather<axis = 0>(s, i3)
      hs = Add(h, i1) h2 = Div(hs, i2) hm = Sub(h2, i1) hk = Mul(hm, i2) ha = Add(hk, i3) hp = Sub(ha, h)
      ht = Div(hp, i2)
      hb = Sub(hp, ht)
      ws = Add(w, i1) w2 = Div(ws, i2) wm = Sub(w2, i1) wk = Mul(wm, i2) wa = Add(wk, i3) wp = Sub(wa, w)
      wt = Div(wp, i2)
      wb = Sub(wp, wt)
      p = Concat<axis = 0>(i0, i0, ht, wt, i0, i0, hb, wb) q = Pad(x, p) y = Conv<strides = [2, 2]>(q, W) }"""
    before = graph(text, W=random(4, 4, 3, 3), **ints("i0", "i1", "i2", "i3"))
    after = normalize(before)
    assert ops(after) == ["Conv"]
    assert shape_of(after.outputs[0]) == ("N", 4, 4, 5)
    assert_same(before, after, {"x": random(2, 4, 7, 9)})


@pytest.mark.parametrize("factor", [2, 3])
def test_resize_to_sizes_with_a_symbolic_batch_becomes_scales(factor: int) -> None:
    text = """(float[N,4,6,6] x) => (float y) {
      s = Shape<start = 0, end = 2>(x) t = Concat<axis = 0>(s, hw) y = Resize<mode = "linear">(x, , , t) }"""
    before = graph(text, hw=np.array([6 * factor, 6 * factor], np.int64))
    after = normalize(before)
    assert ops(after) == ["Resize"]
    data = constant(after.nodes[0].inputs[2])
    assert data is not None and data.tolist() == [1, 1, factor, factor]
    assert_same(before, after, {"x": random(2, 4, 6, 6)})


def test_shapes_argument_overrides_and_folds() -> None:
    whole = normalize(graph("(float[N,3,H,W] x) => (int64[4] y) { y = Shape(x) }"), {"x": [1, 3, 8, 9]})
    assert shape_of(whole.inputs[0]) == (1, 3, 8, 9)
    text = """(float[N,3,H,W] x) => (float y) {
      r = Relu(x) s = Shape(r) t = Slice(s, i0, i2) u = Concat<axis = 0>(t, im1) y = Reshape(r, u) }"""
    after = normalize(graph(text, **ints("i0", "i2", "im1")), {"x": ["batch", 3, 8, 9]})
    assert shape_of(after.outputs[0]) == ("batch", 3, 72)


def test_wrong_input_name_lists_the_inputs() -> None:
    model = graph("(float[N,3] a, float[N,3] b) => (float[N,3] y) { y = Add(a, b) }")
    with pytest.raises(InputError, match=r"no input 'x'; its inputs are a, b"):
        normalize(model, {"x": [1, 3]})


def test_wrong_rank_and_zero_sizes_are_refused() -> None:
    model = graph("(float[N,3] a) => (float[N,3] y) { y = Relu(a) }")
    with pytest.raises(InputError, match="has 2 dimensions"):
        normalize(model, {"a": [1, 3, 3]})
    with pytest.raises(InputError, match="size below 1"):
        normalize(model, {"a": [0, 3]})


def test_freezing_the_batch_makes_every_shape_static() -> None:
    text = """(float[N,4,6] x) => (float y) {
      s = Shape(x) n = Slice(s, i0, i1) m = Mul(n, i4) t = Concat<axis = 0>(m, six) y = Reshape(x, t) }"""
    model = normalize(graph(text, six=np.array([6], np.int64), **ints("i0", "i1", "i4")))
    frozen = freeze_batch(model, 5)
    assert shape_of(frozen.inputs[0]) == (5, 4, 6) and shape_of(frozen.outputs[0]) == (20, 6)
    assert shape_of(model.inputs[0]) == ("N", 4, 6)


def test_freezing_names_the_dimension_that_has_no_value() -> None:
    model = normalize(graph("(float[N,T] x) => (float[N,T] y) { y = Relu(x) }"))
    with pytest.raises(InputError, match=r"dimension 1 \('T'\) of input 'x' is dynamic; fix it with --shape x="):
        freeze_batch(model, 1)
    assert shape_of(freeze_batch(model, 1, {"T": 7}).outputs[0]) == (1, 7)


def test_normalization_leaves_the_given_graph_alone_and_is_idempotent() -> None:
    before = graph("(float[N,4] x) => (float[N,4] y) { a = Identity(x) y = Relu(a) }")
    once = normalize(before)
    assert ops(before) == ["Identity", "Relu"]
    twice = normalize(once)
    assert ops(twice) == ops(once) and [n.name for n in twice.nodes] == [n.name for n in once.nodes]
