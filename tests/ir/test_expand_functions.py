"""Fused operators of onnxruntime and functions of opset 22 and later: the same numbers as onnxruntime's own kernels."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnx_ir as oir
import pytest
from onnx_text import assert_same, random

from hexaquant.core.errors import InputError
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize

TOKENS = {"x": random(1, 6, 16)}
ANGLES = np.outer(np.arange(12), 0.7 ** np.arange(4)).astype(np.float32)
ROTATION = {"c": np.cos(ANGLES), "s": np.sin(ANGLES)}


def check(text: str, feeds: dict[str, np.ndarray], opset: int = 17, **constants: np.ndarray) -> Graph:
    """onnxruntime on the file against onnxruntime on what import makes of it."""
    imports = f'["" : {opset}, "com.microsoft" : 1]'
    model = onnx.parser.parse_model(f"<ir_version: 10, opset_import: {imports}>\ng {text}")
    for name, array in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    after = normalize(Graph(oir.from_proto(model), "test"))
    assert not [node for node in after.nodes if node.domain]
    assert_same(model, after, feeds, rtol=2e-5)
    return after


MS = "com.microsoft"
X = "(float[1,6,16] x) => (float y) "
FUSED = {
    "skip": (f"y = {MS}.SkipLayerNormalization<epsilon=0.00001>(x, h, g, b, e)", "h=1,6,16 g=16 b=16 e=16"),
    "skip without beta": (f"y = {MS}.SkipLayerNormalization(x, h, g)", "h=1,6,16 g=16"),
    "skip, sum used": (f"n,,,t = {MS}.SkipLayerNormalization(x, h, g, b) y = Mul(n, t)", "h=1,6,16 g=16 b=16"),
    "simplified skip": (f"n,,,t = {MS}.SkipSimplifiedLayerNormalization(x, h, g) y = Mul(n, t)", "h=1,6,16 g=16"),
    "simplified": ("y = SimplifiedLayerNormalization<axis=-1, epsilon=0.000001>(x, g)", "g=16"),
    "gelu": (f"y = {MS}.Gelu(x)", ""),
    "bias gelu": (f"y = {MS}.BiasGelu(x, b)", "b=16"),
    "fast gelu": (f"y = {MS}.FastGelu(x, b)", "b=16"),
    "quick gelu": (f"y = {MS}.QuickGelu<alpha=1.5>(x)", ""),
    "matmul": (f"y = {MS}.FusedMatMul<transB=1, alpha=0.25>(x, w)", "w=8,16"),
    "matmul, both turned": (f"y = {MS}.FusedMatMul<transA=1, transB=1>(x, w)", "w=8,6"),
    "gemm": (f'f = Flatten<axis=2>(x) y = {MS}.FusedGemm<transB=1, activation="Relu">(f, w, b)', "w=8,16 b=8"),
    "attention": (f"y = {MS}.Attention<num_heads=2>(x, w, b)", "w=16,48 b=48"),
    "causal attention": (f"y = {MS}.Attention<num_heads=2, unidirectional=1>(x, w, b)", "w=16,48 b=48"),
    "heads": (f"y = {MS}.MultiHeadAttention<num_heads=4, scale=0.3>(x, k, v, b)", "k=1,5,16 v=1,5,16 b=48"),
}


@pytest.mark.parametrize("kind", FUSED)
def test_fusions_of_onnxruntime(kind: str) -> None:
    body, shapes = FUSED[kind]
    named = dict(part.split("=") for part in shapes.split())
    constants = {n: random(*map(int, s.split(",")), seed=i + 1) for i, (n, s) in enumerate(named.items())}
    check(f"{X}{{{body}}}", TOKENS, **constants)


@pytest.mark.parametrize(
    "activation,numbers", [("Relu", ""), ("LeakyRelu", "0.1"), ("Clip", "0.0, 1.0"), ("HardSigmoid", "0.2, 0.5")]
)
def test_a_convolution_with_its_activation_and_an_addend(activation: str, numbers: str) -> None:
    given = f", activation_params=[{', '.join(f'{n}' for n in numbers.split(', '))}]" if numbers else ""
    body = f'y = {MS}.FusedConv<kernel_shape=[3,3], pads=[1,1,1,1], activation="{activation}"{given}>(x, w, b, z)'
    feeds = {"x": random(1, 3, 8, 8), "z": random(1, 4, 8, 8, seed=3)}
    text = f"(float[1,3,8,8] x, float[1,4,8,8] z) => (float y) {{{body}}}"
    check(text, feeds, w=random(4, 3, 3, 3, seed=1), b=random(4, seed=2))


def test_embeddings_and_the_lengths_that_attention_takes_from_their_mask() -> None:
    text = f"""(int32[1,6] i, int32[1,6] t, int32[1,6] m) => (float y) {{
    e, n = {MS}.EmbedLayerNormalization<epsilon=0.00001>(i, t, words, places, kinds, g, b, m)
    y = {MS}.Attention<num_heads=2>(e, w, a, n)}}"""
    tables = {"words": random(30, 16), "places": random(12, 16, seed=1), "kinds": random(2, 16, seed=2)}
    norm = {"g": random(16, seed=3), "b": random(16, seed=4), "w": random(16, 48, seed=5), "a": random(48, seed=6)}
    seen = np.array([[1, 1, 1, 1, 0, 0]], np.int32)
    ids = np.array([[3, 29, 0, 7, 1, 2]], np.int32)
    check(text, {"i": ids, "t": seen, "m": seen}, **tables, **norm)


def test_a_padding_mask_of_attention() -> None:
    text = f"(float[1,6,16] x, int32[1,6] m) => (float y) {{y = {MS}.Attention<num_heads=2>(x, w, b, m)}}"
    mask = np.array([[1, 1, 0, 1, 1, 0]], np.int32)
    check(text, TOKENS | {"m": mask}, w=random(16, 48, seed=1), b=random(48, seed=2))


@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize(
    "options",
    ["", ", is_causal=1", ", softcap=2.0", ", scale=0.3, is_causal=1"],
    ids=["plain", "causal", "cap", "scale"],
)
def test_attention_of_opset_23(opset: int, options: str) -> None:
    text = f"""(float[1,6,16] x, bool[6,6] m) => (float y) {{
    y = Attention<q_num_heads=4, kv_num_heads=2{options}>(x, k, v, m)}}"""
    mask = np.random.default_rng(0).random((6, 6)) < 0.7
    mask[:, 0] = True
    check(text, TOKENS | {"m": mask}, opset, k=random(1, 6, 8, seed=1), v=random(1, 6, 8, seed=2))


def test_attention_with_a_past() -> None:
    text = """(float[1,2,3,8] x, float[1,2,5,8] pk, float[1,2,5,8] pv) => (float y, float nk, float nv) {
    y, nk, nv = Attention<is_causal=1>(x, k, v, , pk, pv)}"""
    feeds = {"x": random(1, 2, 3, 8), "pk": random(1, 2, 5, 8, seed=1), "pv": random(1, 2, 5, 8, seed=2)}
    check(text, feeds, 23, k=random(1, 2, 3, 8, seed=3), v=random(1, 2, 3, 8, seed=4))


@pytest.mark.parametrize("options", ["", ", interleaved=1", ", rotary_embedding_dim=8"])
def test_rotary_embeddings(options: str) -> None:
    half = 4
    heads = 2 if "dim" not in options else 1
    for text, opset in (
        (f"{{y = RotaryEmbedding<num_heads={heads}{options}>(x, c, s, p)}}", 23),
        (f"{{y = {MS}.RotaryEmbedding<num_heads={heads if 'dim' in options else 0}{options}>(x, p, c, s)}}", 17),
    ):
        check(X + text, TOKENS, opset, p=np.arange(2, 8)[None], **{k: v[:, :half] for k, v in ROTATION.items()})


def test_group_query_attention_without_a_past() -> None:
    text = f"""(float[1,6,32] x) => (float y, float nk, float nv) {{
    y, nk, nv = {MS}.GroupQueryAttention<num_heads=2, kv_num_heads=1, do_rotary=1>(x, k, v, , , n, t, c, s)}}"""
    lengths = {"n": np.array([5], np.int32), "t": np.array(6, np.int32)}
    angles = {name: np.concatenate([a, a], 1) for name, a in ROTATION.items()}
    feeds = {"x": random(1, 6, 32)}
    check(text, feeds, k=random(1, 6, 16, seed=1), v=random(1, 6, 16, seed=2), **lengths, **angles)


def test_rms_norm_and_swish_of_newer_opsets_and_attributes_that_only_round() -> None:
    text = "(float[1,6,16] x) => (float y) {r = RMSNormalization(x, g) y = Swish<alpha=1.5>(r)}"
    assert "Swish" not in [n.op_type for n in check_only_import(text, 24, g=random(16))]


def check_only_import(text: str, opset: int, **constants: np.ndarray) -> list[oir.Node]:
    """onnxruntime has no kernel for these yet; numpy is the truth."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>\ng {text}')
    for name, array in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    graph = normalize(Graph(oir.from_proto(model), "test"))
    import torch

    from hexaquant.ir.executor import build_module

    x = TOKENS["x"]
    r = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * constants["g"]
    got = build_module(graph)(x=torch.from_numpy(x))
    got = got["y"] if isinstance(got, dict) else got
    np.testing.assert_allclose(got.detach().numpy(), r / (1 + np.exp(-1.5 * r)), rtol=0, atol=1e-5)
    return graph.nodes


def test_what_has_no_known_body_is_refused_by_name() -> None:
    with pytest.raises((InputError, AssertionError)):
        check(f"{X}{{y = {MS}.LongformerAttention<num_heads=2, window=2>(x, x, x, x, x, x, x)}}", TOKENS)
