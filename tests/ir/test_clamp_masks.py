"""Attention masks become -100: constants, chosen ones and computed ones; nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_text import assert_same, graph, random, run

from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import as_written, clean_up
from hexaquant.ir.passes.clamp_masks import clamp_masks

CAUSAL = np.triu(np.full((4, 4), -3.4e38, np.float32), 1)
LOW = np.float32(-3.4e38)
X = {"x": random(2, 4, 4)}
SEEN = {"b": np.array([[True, True, False, False], [True, True, True, False]])[:, None]}


def written(body: str, head: str = "(float[2,4,4] x) => (float y) ", **constants: np.ndarray) -> Graph:
    made = as_written(graph(head + "{" + body + "}", 21, **constants))
    clean_up(made)
    return made


def least(after: Graph, name: str) -> float:
    tensor = after.initializers[name].const_value
    assert tensor is not None
    return float(tensor.numpy().min())


def test_a_constant_mask() -> None:
    before = written("s = Add(x, mask) u = Unsqueeze(s, z) y = Softmax(u)", mask=CAUSAL, z=np.array([1]))
    after = before.clone()
    assert clamp_masks(after) == 1 and least(after, "mask") == -100
    assert_same(before, after, X, rtol=1e-7)


def test_infinity_is_one_too() -> None:
    mask = np.where(CAUSAL < 0, -np.inf, 0).astype(np.float32)
    before = written("s = Add(x, mask) y = Softmax(s)", mask=mask)
    after = before.clone()
    assert clamp_masks(after) == 1
    assert_same(before, after, X, rtol=1e-7)


@pytest.mark.parametrize(
    "body",
    [
        "s = Where(b, x, low) y = Softmax(s)",
        "n = Not(b) f = Cast<to=1>(n) m = Mul(f, low) s = Add(x, m) y = Softmax(s)",
        "f = Cast<to=1>(b) n = Sub(one, f) m = Mul(n, low) s = Add(x, m) y = Softmax(s)",
    ],
)
def test_a_mask_that_the_data_choose(body: str) -> None:
    head = "(float[2,4,4] x, bool[2,1,4] b) => (float y) "
    one = {"one": np.float32(1)} if "one" in body else {}
    before = written(body, head, low=LOW, **one)
    after = before.clone()
    assert clamp_masks(after) == 1 and least(after, "low") == -100
    assert_same(before, after, X | SEEN, rtol=1e-7)


@pytest.mark.parametrize(
    "body",
    [
        "y = Add(x, mask)",
        "s = Add(x, mask) p = Softmax(s) r = Relu(s) y = Add(p, r)",
        "s = Mul(x, mask) y = Softmax(s)",
        "c = Max(x, mask) y = Softmax(c)",
    ],
)
def test_what_is_no_mask_is_left(body: str) -> None:
    assert clamp_masks(written(body, mask=CAUSAL)) == 0


def test_rows_that_are_masked_whole_are_left() -> None:
    whole = CAUSAL.copy()
    whole[2] = LOW
    graph_ = written("s = Add(x, mask) y = Softmax(s)", mask=whole)
    before = run(graph_, X)[0]
    assert clamp_masks(graph_) == 0 and np.array_equal(run(graph_, X)[0], before)
