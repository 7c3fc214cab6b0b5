"""A constant matrix from the left becomes a 1x1 convolution, and only where that is the same."""

from __future__ import annotations

import numpy as np
import pytest

from hexaquant.htp.for_target import prepare_for_target
from hexaquant.htp.form_pointwise import form_pointwise
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from ir.onnx_text import assert_same, graph, ops, random

X = {"x": random(2, 6, 9)}


def imported(body: str, head: str = "(float[N,6,9] x) => (float y) ", **constants: np.ndarray) -> Graph:
    return normalize(graph(head + "{" + body + "}", 21, **constants))


def test_the_product_is_a_convolution_with_the_weights_name() -> None:
    before = imported("y = MatMul(W, x)", W=random(4, 6))
    after = before.clone()
    assert form_pointwise(after) == 1 and ops(after) == ["Conv"]
    assert [v.name for v in after.nodes[0].inputs if v is not None] == ["x", "W"]
    assert_same(before, after, X)


@pytest.mark.parametrize("shape", [(4, 1), (1, 4, 1)])
def test_a_column_that_is_added_is_the_bias(shape: tuple[int, ...]) -> None:
    before = imported("m = MatMul(W, x) y = Add(m, B)", W=random(4, 6), B=random(*shape, seed=1))
    after = before.clone()
    prepare_for_target(after)
    assert ops(after) == ["Conv"] and len(after.nodes[0].inputs) == 3
    assert_same(before, after, X)


def test_what_is_added_to_rows_stays() -> None:
    before = imported("m = MatMul(W, x) y = Add(m, B)", W=random(4, 6), B=random(9))
    after = before.clone()
    assert form_pointwise(after) == 1 and ops(after) == ["Conv", "Add"]
    assert_same(before, after, X)


@pytest.mark.parametrize(
    ("body", "head"),
    [
        ("a = MatMul(W, x) b = Relu(x) c = MatMul(W, b) y = Add(a, c)", "(float[N,6,9] x) => (float y) "),
        ("y = MatMul(W, x)", "(float[6,9] x) => (float y) "),
        ("y = MatMul(W, x)", "(float[N,2,6,9] x) => (float y) "),
    ],
)
def test_shared_matrices_and_other_ranks_are_left(body: str, head: str) -> None:
    assert form_pointwise(imported(body, head, W=random(4, 6))) == 0


def test_a_computed_matrix_is_left() -> None:
    after = graph("(float[2,6,9] x, float[4,6] w) => (float y) { y = MatMul(w, x) }")
    assert form_pointwise(after) == 0
