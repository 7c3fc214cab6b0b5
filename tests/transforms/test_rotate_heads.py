"""Rotation between values and output projection: exact, one matrix a head, only through what passes it."""

from __future__ import annotations

import numpy as np
import pytest

from hexaquant.htp.for_target import prepare_for_target
from hexaquant.ir.graph import Graph
from hexaquant.transforms.rotate_heads import rotate_heads
from ir.onnx_text import assert_same, ops, random
from sim.nets import net


def attention(values: str = "vh = Reshape (v, shape)") -> Graph:
    text = f"""(float[N,4,8] x) => (float[N,4,8] y) {{
        shape = Constant <value = int64[4] {{-1, 4, 2, 4}}> ()
        flat = Constant <value = int64[3] {{-1, 4, 8}}> ()
        q = MatMul (x, wq)
        k = MatMul (x, wk)
        v0 = MatMul (x, wv)
        v = Add (v0, bv)
        qh = Reshape (q, shape)
        kh = Reshape (k, shape)
        {values}
        qt = Transpose <perm=[0,2,1,3]> (qh)
        kt = Transpose <perm=[0,2,3,1]> (kh)
        vt = Transpose <perm=[0,2,1,3]> (vh)
        s = MatMul (qt, kt)
        p = Softmax <axis=-1> (s)
        o = MatMul (p, vt)
        ot = Transpose <perm=[0,2,1,3]> (o)
        of = Reshape (ot, flat)
        y = MatMul (of, wo)
    }}"""
    weights = {name: random(8, 8, seed=i) for i, name in enumerate(("wq", "wk", "wv", "wo"))}
    weights["wv"][:, [1, 6]] *= 30
    graph = net(text, **weights, bv=random(8, seed=9))
    prepare_for_target(graph)
    return graph


def test_values_are_rotated_within_each_head() -> None:
    before = attention()
    after = before.clone()
    report = rotate_heads(after)
    assert len(report.layers) == 1 and not report.declined and ops(after) == ops(before)
    assert_same(before, after, {"x": random(2, 4, 8)})
    old, new = (np.abs(g.initializers["wv"].const_value.numpy()).max(0) for g in (before, after))
    assert new.max() / new.min() < old.max() / old.min() / 4
    norms = [np.square(g.initializers["wv"].const_value.numpy()).reshape(8, 2, 4).sum((0, 2)) for g in (before, after)]
    np.testing.assert_allclose(*norms, rtol=1e-5)


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid"])
def test_an_activation_on_the_values_declines(activation: str) -> None:
    before = attention(f"vr = {activation} (v)\n vh = Reshape (vr, shape)")
    after = before.clone()
    assert "does not pass a rotation" in next(iter(rotate_heads(after).declined.values()))
    assert_same(before, after, {"x": random(2, 4, 8)}, rtol=0)
