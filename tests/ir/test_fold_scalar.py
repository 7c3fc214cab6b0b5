"""Factors behind a linear layer go into its weights; whatever else reads a value on the way stops that."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_text import assert_same, graph, ops, random

from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.ir.passes.fold_scalar import fold_scalar

HEAD = "(float[2,3,8] x) => (float y) "
W = {"W": random(8, 8, seed=1), "B": random(8, seed=2), "c": np.float32(0.35), "h": np.array([0, 3, 2, 4])}
QUERY = "m = MatMul(x, W) b = Add(m, B) r = Reshape(b, h) t = Transpose<perm=[0,2,1,3]>(r) "


def imported(body: str) -> Graph:
    used = {name: data for name, data in W.items() if f" {name})" in body or f"({name}," in body}
    return normalize(graph(HEAD + "{" + body + "}", 21, **used))


@pytest.mark.parametrize(
    "body",
    [
        QUERY + "s = Mul(t, c) y = Relu(s)",
        QUERY + "s = Mul(c, t) y = Relu(s)",
        QUERY + "s = Div(t, c) y = Relu(s)",
        QUERY + "k = Transpose<perm=[0,2,3,1]>(x2) q = MatMul(t, k) s = Mul(q, c) y = Softmax(s)",
    ],
)
def test_the_factor_is_gone_and_the_function_is_the_same(body: str) -> None:
    body = ("e = Exp(x) x2 = Reshape(e, h) " if "x2" in body else "") + body
    before = imported(body)
    after = before.clone()
    assert fold_scalar(after) == 1
    assert not {"Mul", "Div"} & set(ops(after))
    assert_same(before, after, {"x": random(2, 3, 8)}, rtol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        "m = MatMul(x, W) s = Mul(m, c) a = Relu(m) y = Add(s, a)",
        "m = MatMul(x, W) r = Relu(m) s = Mul(r, c) y = Relu(s)",
        "m = MatMul(x, W) s = Mul(m, B) y = Relu(s)",
        "m = MatMul(x, W) n = MatMul(m, W) s = Mul(m, c) y = Add(s, n)",
        "m = MatMul(x, W) y = Mul(m, c)",
    ],
)
def test_it_declines_where_something_else_would_change(body: str) -> None:
    assert fold_scalar(imported(body)) == 0
