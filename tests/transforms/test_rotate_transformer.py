"""Rotation of residual streams: the function stays, outlier channels go; what cannot be rotated says why."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hexaquant.htp.for_target import prepare_for_target
from hexaquant.ir.graph import Graph
from hexaquant.ptq.graph_change import require_same_function, watch
from hexaquant.transforms.fold_norm_scale import fold_norm_scale
from hexaquant.transforms.rotate_heads import hadamard, mixing_matrix
from hexaquant.transforms.rotate_transformer import rotate_transformer
from ir.onnx_text import ops, random
from sim.nets import net

WIDTH = 12
IDS = np.random.default_rng(3).integers(0, 9, (2, 5)).astype(np.int64)


def block(x: str, i: int, norm: str = "LayerNormalization <axis=-1>") -> str:
    """Pre-norm feed-forward block from ``x`` to ``s<i>``."""
    beta = "" if norm.startswith("RMS") else f", be{i}"
    return f"""
        n{i} = {norm} ({x}, g{i}{beta})
        u{i} = MatMul (n{i}, up{i})
        ub{i} = Add (u{i}, upb{i})
        a{i} = Relu (ub{i})
        d{i} = MatMul (a{i}, down{i})
        db{i} = Add (d{i}, downb{i})
        s{i} = Add ({x}, db{i})"""


def weights(blocks: int) -> dict[str, np.ndarray]:
    made = {"table": random(9, WIDTH), "pos": random(5, WIDTH, seed=1), "head": random(WIDTH, 3, seed=2)}
    for i in range(blocks):
        made |= {f"g{i}": random(WIDTH, seed=10 + i) + 2, f"be{i}": random(WIDTH, seed=20 + i)}
        made |= {f"up{i}": random(WIDTH, 20, seed=30 + i), f"upb{i}": random(20, seed=40 + i)}
        made |= {f"down{i}": random(20, WIDTH, seed=50 + i) / 4, f"downb{i}": random(WIDTH, seed=60 + i)}
        made[f"down{i}"][:, 7] *= 40
    return made


def pre_norm(norm: str = "LayerNormalization <axis=-1>", tail: str = "y = MatMul (n2, head)") -> Graph:
    last = "" if norm.startswith("RMS") else ", be2"
    text = f"""(int64[N,5] ids) => (float[N,5,3] y) <float[N,5,12] n0, float[N,5,12] n1, float[N,5,12] n2> {{
        e = Gather (table, ids)
        x = Add (e, pos)
        {block("x", 0, norm)}
        {block("s0", 1, norm)}
        n2 = {norm} (s1, g2{last})
        {tail}
    }}"""
    graph = net(text, **{k: v for k, v in weights(3).items() if k in text})
    prepare_for_target(graph)
    return graph


def largest_channel(graph: Graph, name: str) -> float:
    """Ratio of the largest to the median channel of a tensor."""
    seen: list[torch.Tensor] = []
    watch(graph, [{"ids": IDS}], {name: seen.append})
    values = seen[0].abs().reshape(-1, WIDTH).amax(0)
    return float(values.max() / values.median())


def assert_same(before: Graph, after: Graph) -> None:
    """In our executor, since onnxruntime has no RMSNormalization in opset 21."""
    require_same_function(before, after, lambda: [{"ids": IDS}], 1e-5, "test")


@pytest.mark.parametrize("size", [1, 2, 12, 20, 24, 384, 768])
def test_hadamard_matrices_are_orthogonal_and_flat(size: int) -> None:
    matrix = hadamard(size)
    assert matrix is not None and set(np.unique(matrix)) <= {-1.0, 1.0}
    np.testing.assert_array_equal(matrix @ matrix.T, size * np.eye(size))


@pytest.mark.parametrize("size", [12, 10, 33, 384])
def test_mixing_keeps_lengths_and_the_mean(size: int) -> None:
    q = mixing_matrix(size)
    np.testing.assert_allclose(q @ q.T, np.eye(size), atol=1e-12)
    np.testing.assert_allclose(q @ np.ones(size), np.ones(size), atol=1e-12)
    assert np.abs(q).max() < 4 / np.sqrt(size) or size < 20


@pytest.mark.parametrize("norm", ["LayerNormalization <axis=-1>", "RMSNormalization <axis=-1>"])
def test_a_pre_norm_stream_is_rotated_for_free(norm: str) -> None:
    before = pre_norm(norm)
    after = before.clone()
    report = rotate_transformer(after)
    assert report.spaces == [WIDTH] and len(report.folded) == 3 and not report.extra and not report.declined
    assert ops(after) == ops(before)
    assert_same(before, after)
    assert largest_channel(after, "s1") < 5 < 10 < largest_channel(before, "s1")
    assert (after.initializers["g1"].const_value.numpy() == 1).all()


POST_NORM = """(int64[N,5] ids) => (float[N,5,12] y) {
    e = Gather (table, ids)
    x = LayerNormalization <axis=-1> (e, g0, be0)
    u = MatMul (x, up0)
    ub = Add (u, upb0)
    a = Relu (ub)
    d = MatMul (a, down0)
    db = Add (d, downb0)
    s = Add (x, db)
    y = LayerNormalization <axis=-1> (s, g1, be1)
}"""


def post_norm() -> Graph:
    graph = net(POST_NORM, **{k: v for k, v in weights(2).items() if f"{k})" in POST_NORM or f"{k}," in POST_NORM})
    prepare_for_target(graph)
    return graph


def test_a_post_norm_stream_is_declined_with_the_reason() -> None:
    before = post_norm()
    after = before.clone()
    report = rotate_transformer(after)
    assert report.spaces == [] and "needs one more linear layer" in report.declined["x"]
    assert_same(before, after)


def test_a_post_norm_stream_is_rotated_with_one_more_linear_layer_for_each_norm() -> None:
    before = post_norm()
    after = before.clone()
    report = rotate_transformer(after, extra_linears=True)
    assert len(report.spaces) == 2 and len(report.extra) == 2
    assert ops(after).count("Gemm") == ops(before).count("Gemm") + 2
    assert_same(before, after)
    assert largest_channel(after, "s") < 6 < largest_channel(before, "s")


@pytest.mark.parametrize(
    ("tail", "tensor"),
    [
        ("t = MatMul (n2, head)\n k = Relu (s1)\n r = ReduceMax <keepdims=1> (k, last)\n y = Add (t, r)", "s1"),
        ("t = MatMul (n2, head)\n r = ReduceSum (s1, last)\n y = Add (t, r)", "s1"),
    ],
)
def test_other_readers_block_a_stream(tail: str, tensor: str) -> None:
    text = f"""(int64[N,5] ids) => (float[N,5,3] y) {{
        x = Gather (table, ids)
        {block("x", 1)}
        n2 = LayerNormalization <axis=-1> (s1, g2, be2)
        last = Constant <value = int64[1] {{-1}}> ()
        {tail}
    }}"""
    graph = net(text, **{k: v for k, v in weights(3).items() if k in text and k != "pos"})
    prepare_for_target(graph)
    after = graph.clone()
    report = rotate_transformer(after)
    assert report.spaces == [] and "acts on each channel" in next(iter(report.declined.values()))
    assert_same(graph, after)


def test_scale_and_shift_of_norms_go_into_the_linear_layers_behind_them() -> None:
    before = pre_norm()
    after = before.clone()
    report = fold_norm_scale(after)
    assert len(report.layers) == 3 and not report.declined
    for i in range(3):
        assert (after.initializers[f"g{i}"].const_value.numpy() == 1).all()
        assert not after.initializers[f"be{i}"].const_value.numpy().any()
    assert_same(before, after)


def test_a_post_norm_scale_stays_with_the_reason() -> None:
    before = post_norm()
    after = before.clone()
    assert set(fold_norm_scale(after).declined.values()) == {
        "its output is added to another tensor (post-norm)",
        "'y' is an output of the network",
    }
    assert_same(before, after)
