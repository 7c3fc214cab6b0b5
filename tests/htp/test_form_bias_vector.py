"""Broadcast biases of fully connected layers become vectors."""

from __future__ import annotations

import numpy as np
import pytest

from hexaquant.htp.for_target import prepare_for_target
from hexaquant.htp.form_bias_vector import form_bias_vector
from hexaquant.ir.normalize import normalize
from ir.onnx_text import assert_same, graph, random
from sim.nets import quantized

GEMM = "(float[N,32] x) => (float[N,6] y) { y = Gemm <transB=1> (x, w, b) }"
SHAPES = [(1, 6), (1,), ()]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_broadcast_bias_becomes_a_vector(shape: tuple[int, ...]) -> None:
    before = normalize(graph(GEMM, w=random(6, 32), b=random(*shape)))
    after = before.clone()
    assert form_bias_vector(after) == 1
    assert after.initializers["b"].const_value.numpy().shape == (6,)
    assert_same(before, after, {"x": random(3, 32, seed=4)})


@pytest.mark.parametrize("shape", SHAPES)
def test_it_can_be_quantized_then(shape: tuple[int, ...]) -> None:
    model = normalize(graph(GEMM, w=random(6, 32), b=random(*shape)))
    prepare_for_target(model)
    encodings = quantized(model, data=[{"x": random(4, 32)}]).encodings()
    assert encodings["b"].scale.shape == (6,) and encodings["b"].grid.bits == 32


def test_vectors_and_matrices_are_left() -> None:
    text = """(float[3,32] x) => (float[3,6] y, float[3,6] z) {
        y = Gemm <transB=1> (x, w, b)
        z = Gemm <transB=1> (x, w, m)
    }"""
    assert form_bias_vector(normalize(graph(text, w=random(6, 32), b=random(6), m=random(3, 6)))) == 0


def test_a_shared_bias_is_copied() -> None:
    text = """(float[N,32] x) => (float[N,6] y, float[N,1] z) {
        y = Gemm <transB=1> (x, w, b)
        z = Gemm <transB=1> (x, v, b)
    }"""
    before = normalize(graph(text, w=random(6, 32), v=random(1, 32), b=np.float32([0.5])))
    after = before.clone()
    assert form_bias_vector(after) == 1
    assert_same(before, after, {"x": random(3, 32, seed=4)})
