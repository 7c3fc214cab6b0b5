"""Transposes move, meet and cancel, and the graph computes the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as oir
import pytest
import torch

from hexaquant.ir.executor.build import build_module
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.ir.passes.fold_affine import fold_affine
from hexaquant.ir.passes.fold_dequantized import fold_dequantized
from hexaquant.ir.passes.merge_reshapes import merge_reshapes
from hexaquant.ir.passes.move_transposes import move_transposes

HEAD = '<ir_version: 10, opset_import: ["" : 21]> g '
IN = "f = Transpose<perm = [0, 3, 1, 2]>(x) "
OUT = "y = Transpose<perm = [0, 2, 3, 1]>(l)"


def graph(text: str) -> Graph:
    return Graph(oir.from_proto(onnx.parser.parse_model(HEAD + text)), "text")


def check(text: str, transposes: int, *inputs: np.ndarray) -> Counter[str]:
    """Move the Transposes of ``text``; the result must compute the same and have ``transposes`` left."""
    before = normalize(graph(text))
    after = normalize(graph(text), extra=(fold_dequantized, move_transposes, merge_reshapes, fold_affine))
    tensors = [torch.from_numpy(x) for x in inputs] or [torch.randn(2, 4, 5, 3)]
    torch.testing.assert_close(build_module(after)(*tensors), build_module(before)(*tensors), rtol=1e-5, atol=1e-5)
    counts = Counter(node.op_type for node in after.nodes)
    assert counts["Transpose"] == transposes, counts
    return counts


@pytest.mark.parametrize(
    "middle",
    [
        "l = Relu(f)",
        "c = Constant<value_floats = [1.0, 2.0, 3.0, 4.0, 5.0]>() l = Mul(f, c)",
        "l = Softmax<axis = 1>(f)",
        "l = Concat<axis = 1>(f, f)",
        "p = Constant<value_ints = [0, 0, 1, 2, 0, 0, 3, 0]>() l = Pad(f, p)",
        "a = Constant<value_ints = [2]>() l = ReduceMean<keepdims = 1>(f, a)",
        "s = Constant<value_ints = [1]>() e = Constant<value_ints = [3]>() a = Constant<value_ints = [1]>() "
        "l = Slice(f, s, e, a)",
        "r = Constant<value_ints = [1, 2, 1, 1]>() l = Tile(f, r)",
        "n = Constant<value_ints = [0, 0, 0, 0]>() q = Constant<value_floats = [1.0, 1.0, 2.0, 2.0]>() "
        'z = Constant<value_floats = [0.0]>() l = Resize<mode = "nearest">(f, , q)',
        "s, t = Split<axis = 1, num_outputs = 2>(f) l = Concat<axis = 1>(t, s)",
    ],
)
def test_operators_between_two_transposes_compute_in_the_outer_layout(middle: str) -> None:
    check(f"(float[2, 4, 5, 3] x) => (float[a, b, c, d] y) {{ {IN} {middle} {OUT} }}", 0)


def test_axes_that_vanish_take_the_transpose_with_them() -> None:
    text = f"{IN} a = Constant<value_ints = [2, 3]>() y = ReduceMean<keepdims = 0>(f, a)"
    check(f"(float[2, 4, 5, 3] x) => (float[a, b] y) {{ {text} }}", 0)


def test_graph_with_a_residual_needs_one_transpose_at_each_border() -> None:
    text = """(float[2, 4, 5, 3] x) => (float[a, b, c, d] y) {
        w = RandomNormal<shape = [3, 3, 1, 1], seed = 1.0>()
        a = Transpose<perm = [0, 3, 1, 2]>(x) b = Relu(a) c = Transpose<perm = [0, 2, 3, 1]>(b)
        d = Transpose<perm = [0, 3, 1, 2]>(c) e = GlobalMaxPool(d) h = Transpose<perm = [0, 2, 3, 1]>(e)
        s = Mul(c, h) t = Transpose<perm = [0, 3, 1, 2]>(s) u = GlobalMaxPool(t)
        v = Transpose<perm = [0, 2, 3, 1]>(u) y = Add(s, v)
    }"""
    check(text.replace("w = RandomNormal<shape = [3, 3, 1, 1], seed = 1.0>()", ""), 2)


def test_reduction_and_reshape_become_one_reduction() -> None:
    text = """(float[2, 4, 5, 3] x) => (float[a, b, c, d] y) {
        n = Constant<value_ints = [1, 2]>() m = ReduceMean<keepdims = 0>(x, n)
        s = Constant<value_ints = [2, 1, 1, 3]>() y = Reshape(m, s)
    }"""
    assert check(text, 0)["Reshape"] == 0


def test_affine_after_a_convolution_folds_into_it() -> None:
    rng = np.random.default_rng(0)
    weight = ",".join(f"{v:.4f}" for v in rng.normal(0, 1, 12))
    text = f"""(float[2, 3, 4, 4] x) => (float[a, b, c, d] y) <float[4, 3, 1, 1] w = {{ {weight} }},
        float[4, 1, 1] s = {{ 1.5, 0.5, -2.0, 3.0 }}, float[1, 4, 1, 1] b = {{ 0.1, 0.2, 0.3, 0.4 }}> {{
        c = Conv(x, w) m = Mul(s, c) y = Add(m, b)
    }}"""
    counts = check(text, 0, rng.normal(0, 1, (2, 3, 4, 4)).astype(np.float32))
    assert counts == {"Conv": 1}


def test_transposed_dequantized_weight_is_dequantized_along_the_moved_axis() -> None:
    weight = ",".join(str(v) for v in range(-12, 12))
    text = f"""(float[2, 4, 5, 3] x) => (float[a, b, c] y) <int8[2, 3, 4] q = {{ {weight} }},
        float[2] s = {{ 0.5, 0.25 }}, int8[2] z = {{ 0, 1 }}> {{
        d = DequantizeLinear<axis = 0>(q, s, z) t = Transpose<perm = [2, 1, 0]>(d)
        a = Constant<value_ints = [0, 1, 2, 3]>() m = ReduceSum<keepdims = 0>(x, a) y = Mul(t, m)
    }}"""
    assert check(text, 0)["DequantizeLinear"] == 1
