"""Forms without a kernel become forms that have one, number for number."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx_ir as oir
import pytest
from onnx_text import graph, ops, random, rewritten

from hexaquant.frontends import load
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.ir.graph import Graph, shape_of
from hexaquant.ir.normalize import normalize, notes_of
from hexaquant.ir.passes.einsum_to_matmul import parse
from hexaquant.ir.passes.lower_ranks import slab_of
from hexaquant.ir.passes.split_transposes import blocks
from hexaquant.ir.rewrite import rewrite_forms


def ranks(model: Graph) -> int:
    values = [v for node in model.nodes for v in (*node.inputs, *node.outputs) if v is not None and v.shape is not None]
    return max(len(v.shape) for v in values if v.shape is not None)


def dims(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))


EINSUMS = [
    ("btnh,bsnh->bnts", (1, 5, 2, 4), (1, 6, 2, 4)),
    ("bnts,bsnh->btnh", (1, 2, 5, 6), (1, 6, 2, 4)),
    ("abc,cde->abde", (2, 3, 4), (4, 2, 5)),
    ("...ij,...jk->...ik", (2, 3, 4, 5), (1, 3, 5, 6)),
    ("bhwc,hkc->bhwk", (1, 3, 4, 5), (3, 6, 5)),
    ("i,j->ij", (3,), (4,)),
    ("ij,ij->", (3, 4), (3, 4)),
    ("ij,jk", (3, 4), (4, 2)),
    ("abcd,abed,abce->abc", (1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 3, 5)),
    ("bij,bjk,bkl->bil", (1, 2, 3), (1, 3, 4), (1, 4, 2)),
    ("abcde->ae", (1, 2, 3, 4, 5)),
    ("ii->i", (4, 4)),
    ("bii->b", (2, 3, 3)),
    ("abab->ab", (2, 3, 2, 3)),
    ("ij->ji", (2, 3)),
    ("bijk,bjl->bikl", (1, 1, 3, 4), (1, 3, 2)),
    ("abcx,abcy->abcxy", (1, 2, 3, 4), (1, 2, 3, 5)),
    ("bhld,bhds->bhls", (1, 2, 3, 4), (1, 1, 4, 5)),
]


@pytest.mark.parametrize("case", EINSUMS, ids=[case[0] for case in EINSUMS])
def test_every_static_einsum_becomes_products(case: tuple) -> None:  # type: ignore[type-arg]
    equation, *shapes = case
    names = [f"x{i}" for i in range(len(shapes))]
    inputs = ", ".join(f"float[{dims(shape)}] {name}" for name, shape in zip(names, shapes, strict=True))
    text = f'({inputs}) => (float y) {{ y = Einsum <equation = "{equation}"> ({", ".join(names)}) }}'
    after = rewritten(text, {name: random(*shape, seed=i) for i, (name, shape) in enumerate(zip(names, shapes))})
    assert "Einsum" not in ops(after)


def test_the_constant_operand_of_an_einsum_is_the_weight_of_a_product() -> None:
    text = '(float[1,3,4] x) => (float y) { y = Einsum <equation = "nhd,btd->btnh"> (w, x) }'
    after = rewritten(text, {"x": random(1, 3, 4)}, w=random(2, 5, 4, seed=3))
    product = next(node for node in after.nodes if node.op_type == "MatMul")
    assert product.inputs[1] is not None and product.inputs[1].is_initializer()


def test_an_ellipsis_gets_letters_of_its_own() -> None:
    assert parse("...ij , ...jk", [4, 3]) == (["αβij", "βjk"], "αβik")


def window(seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(6, 9))
    return (1, *(int(n) for n in rng.integers(1, 4, rank - 1))), (0, *(int(a) for a in 1 + rng.permutation(rank - 1)))


@pytest.mark.parametrize("seed", range(12))
def test_any_transpose_of_high_rank_is_one_or_two_of_rank_5(seed: int) -> None:
    shape, perm = window(seed)
    text = f"""(float[1,{int(np.prod(shape))}] x) => (float y) {{ a = Reshape (x, s)
        b = Transpose <perm = {list(perm)}> (a)
        y = Reshape (b, e) }}"""
    x = random(1, int(np.prod(shape)), seed=seed)
    after = rewritten(text, {"x": x}, s=np.array(shape), e=np.array([1, -1]))
    assert ranks(after) <= 5
    assert ops(after).count("Transpose") <= 2


def test_blocks_are_what_moves_together() -> None:
    assert blocks((0, 1, 3, 2, 4, 5)) == [[0, 1], [3], [2], [4, 5]]


HIGH = {
    "add": "b = Add (a, c)",
    "where": "m = Greater (a, c) b = Where (m, a, c)",
    "softmax": "b = Softmax <axis = 4> (a)",
    "sum": "b = ReduceSum <keepdims = 0> (a, two)",
    "mean": "b = ReduceMean (a, last)",
    "concat": "r = Relu (a) b = Concat <axis = 2> (a, r)",
    "slice": "b = Slice (a, zero, one, two)",
    "split": "b, d = Split <axis = 3, num_outputs = 2> (a)",
    "gather": "b = Gather <axis = 5> (a, three)",
    "matmul": "b = MatMul (a, w)",
    "attention": "t = Transpose <perm = [0,1,2,3,5,4]> (a) b = MatMul (a, t)",
    "tile": "b = Tile (a, times)",
    "expand": "k = ReduceMax (a, three) b = Expand (k, full)",
    "cumsum": "b = CumSum (a, axis)",
    "topk": "b, i = TopK <axis = 5> (a, k2)",
    "pad": "b = Pad (a, pads)",
    "norm": "b = LayerNormalization <axis = -1> (a, g)",
}
SHAPE = (1, 2, 3, 2, 2, 4)
OPERANDS = {
    "c": random(1, 2, 1, 1, 2, 4, seed=1),
    "two": np.array([2]),
    "last": np.array([4, 5]),
    "zero": np.array([0]),
    "one": np.array([1]),
    "three": np.array([3, 1]),
    "w": random(4, 5, seed=2),
    "times": np.array([1, 1, 2, 1, 1, 1]),
    "full": np.array(SHAPE),
    "axis": np.array(2),
    "k2": np.array([2]),
    "pads": np.array([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2]),
    "g": random(4, seed=4),
}


@pytest.mark.parametrize("name", HIGH)
def test_operators_of_rank_6_are_written_on_fewer_axes(name: str) -> None:
    text = f"(float[1,96] x) => (float y) {{ a = Reshape (x, s)\n {HIGH[name]}\n y = Flatten (b) }}"
    used = {key: value for key, value in OPERANDS.items() if f"{key})" in text or f"{key}," in text}
    after = rewritten(text, {"x": random(1, 96)}, s=np.array(SHAPE), **used)
    assert ranks(after) <= 5


def test_several_samples_run_at_once_where_the_batch_was_1() -> None:
    text = """(float[1,8,8,3] x) => (float y) { a = Reshape (x, s) b = Transpose <perm = [0,1,3,2,4,5]> (a)
        c = Neg (b) y = Flatten (c) }"""
    after = normalize(graph(text, s=np.array([1, 2, 4, 2, 4, 3])))
    rewrite_forms(after)
    targets = [node.inputs[1].const_value.numpy() for node in after.nodes if node.op_type == "Reshape"]  # type: ignore
    assert all(target[0] in (0, -1) for target in targets)


def test_a_free_batch_stays_free() -> None:
    text = """(float[N,8,8,3] x) => (float y) { a = Reshape (x, s) b = Transpose <perm = [0,1,3,2,4,5]> (a)
        y = Flatten (b) }"""
    after = rewritten(text, {"x": random(3, 8, 8, 3)}, s=np.array([0, 2, 4, 2, 4, 3]))
    assert ranks(after) <= 5


def test_scattering_a_slab_is_a_concatenation() -> None:
    places = np.stack(np.meshgrid([0], [0, 1, 2], [0, 1, 2, 3], [1, 2], indexing="ij"), -1)
    text = "(float[1,3,4,5] x, float[1,3,4,2] u) => (float y) { y = ScatterND (x, i, u) }"
    feeds = {"x": random(1, 3, 4, 5), "u": random(1, 3, 4, 2, seed=1)}
    after = rewritten(text, feeds, i=places)
    assert ops(after) == ["Slice", "Slice", "Concat"]
    assert slab_of(places[:, :, ::-1], [1, 3, 4, 5]) is None


MODES = list(
    itertools.product(
        ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"],
        ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"],
    )
)


@pytest.mark.parametrize(("transform", "nearest"), MODES)
def test_resize_to_the_nearest_picks_the_same_elements(transform: str, nearest: str) -> None:
    how = f'coordinate_transformation_mode = "{transform}", nearest_mode = "{nearest}"'
    text = f"""(float[1,2,12,12] x) => (float a, float b, float c) {{ a = Resize <{how}> (x, , , up)
        b = Resize <{how}> (x, , by) c = Resize <{how}> (x, , , half) }}"""
    by = np.array([1, 1, 2.3, 1.5], np.float32)
    sizes = {"up": np.array([1, 2, 17, 7]), "half": np.array([1, 2, 6, 24])}
    after = rewritten(text, {"x": random(1, 2, 12, 12)}, 19, by=by, **sizes)
    for node in after.nodes:
        if node.op_type == "Resize":
            mode = node.attributes["coordinate_transformation_mode"].as_string()
            assert mode == "asymmetric" or mode == "half_pixel"


@pytest.mark.parametrize(
    "how",
    [
        'mode = "linear", coordinate_transformation_mode = "half_pixel_symmetric"',
        'mode = "cubic", cubic_coeff_a = -0.5, exclude_outside = 1',
        'mode = "linear", antialias = 1',
        'mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel"',
    ],
)
def test_resize_in_rare_modes_is_a_product_of_matrices(how: str) -> None:
    text = f"(float[1,2,12,9] x) => (float y) {{ y = Resize <{how}> (x, , , z) }}"
    after = rewritten(text, {"x": random(1, 2, 12, 9)}, 19, z=np.array([1, 2, 1, 5]))
    assert "Resize" not in ops(after) and "MatMul" in ops(after)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("ends", [[2, 1, 1, 2], [-1, 2, 1, -2]])
def test_pads_of_some_axes_and_of_less_than_nothing(mode: str, ends: list[int]) -> None:
    text = f'(float[1,2,5,6] x) => (float y) {{ y = Pad <mode = "{mode}"> (x, p, v, a) }}'
    constants = {"p": np.array(ends), "a": np.array([-2, 3]), "v": np.float32(3.5)}
    if mode == "wrap" and min(ends) < 0:
        pytest.skip("onnxruntime refuses to crop in this mode")
    after = rewritten(text, {"x": random(1, 2, 5, 6)}, **constants)
    assert all(len(node.inputs) <= 3 for node in after.nodes if node.op_type == "Pad")


def test_clip_by_computed_bounds_is_min_of_max() -> None:
    text = "(float[1,4,4] x) => (float y) { m = ReduceMax <keepdims = 0> (x) l = Sub (m, c) y = Clip (x, l, h) }"
    after = rewritten(text, {"x": random(1, 4, 4)}, c=np.float32(2), h=np.float32(1))
    assert {"Max", "Min"} <= set(ops(after))


@pytest.mark.parametrize("axis", [1, -2, 2])
def test_normalization_of_several_axes_is_one_of_a_vector(axis: int) -> None:
    shape = (2, 3, 4, 5)[axis:]
    text = f"(float[2,3,4,5] x) => (float y) {{ y = LayerNormalization <axis = {axis}> (x, g, b) }}"
    after = rewritten(text, {"x": random(2, 3, 4, 5)}, g=random(*shape, seed=1), b=random(*shape, seed=2))
    assert ops(after).count("LayerNormalization") == 1
    node = next(node for node in after.nodes if node.op_type == "LayerNormalization")
    assert node.attributes["axis"].as_int() == -1


@pytest.mark.parametrize("p", [1, 2])
def test_the_norm_of_one_number_leaves_its_sign(p: int) -> None:
    text = f"(float[4,1] x) => (float y) {{ n = LpNormalization <axis = -1, p = {p}> (x) y = Neg (n) }}"
    x = np.array([[-3], [0], [1e-6], [7]], np.float32)
    assert ops(rewritten(text, {"x": x})) == ["Sign", "Neg"]


def test_dilated_transposed_convolution_gets_a_kernel_with_zeros() -> None:
    text = "(float[1,4,7,9] x) => (float y) { y = ConvTranspose <dilations = [1, 2], strides = [2, 1]> (x, w) }"
    after = rewritten(text, {"x": random(1, 4, 7, 9)}, w=random(4, 3, 2, 3, seed=1))
    assert ops(after) == ["ConvTranspose"] and "dilations" not in after.nodes[0].attributes


def test_volumes_are_pooled_part_by_part() -> None:
    how = "kernel_shape = [3, 2, 3], strides = [2, 1, 2], pads = [1, 0, 1, 1, 1, 0]"
    text = f"(float[1,3,6,7,8] x) => (float y) {{ a = MaxPool <{how}> (x) y = GlobalMaxPool (a) }}"
    after = rewritten(text, {"x": random(1, 3, 6, 7, 8)})
    assert all(len(n.attributes["kernel_shape"].as_ints()) == 2 for n in after.nodes if n.op_type == "MaxPool")


@pytest.mark.parametrize("low", [0, -20])
def test_remainders_of_integers(low: int) -> None:
    x = np.random.default_rng(0).integers(low, 20, (1, 30))
    after = rewritten("(int64[1,30] x) => (int64 y) { y = Mod (x, d) }", {"x": x}, d=np.array(7))
    assert "Mod" not in ops(after)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("Gather <axis = 1> (t, i)", (1, 6)),
        ("GatherElements <axis = 1> (t, i)", (5, 3)),
        ("GatherND (t, i)", (4, 2)),
    ],
)
def test_indices_from_the_end_are_wrapped_once(text: str, shape: tuple[int, ...]) -> None:
    i = np.random.default_rng(0).integers(-5, 5, shape)
    after = rewritten(f"(int64[{dims(shape)}] i) => (float y) {{ y = {text} }}", {"i": i}, t=random(5, 5))
    assert ops(after).count("Where") == 1


def test_indices_that_are_counted_stay() -> None:
    text = "(float[1,6] x) => (float y) { i = ArgMax <axis = 1> (x) y = Gather (t, i) }"
    assert ops(rewritten(text, {"x": random(1, 6)}, t=random(6, 4))) == ["ArgMax", "Gather"]


def test_what_asks_for_infinities_is_gone() -> None:
    text = """(float[1,6] x) => (float y) { n = IsNaN (x) a = Where (n, z, x) i = IsInf (a) p = Greater (a, z)
        b = And (i, p) c = Where (b, z, a) y = Relu (c) }"""
    assert ops(rewritten(text, {"x": random(1, 6)}, z=np.float32(0))) == ["Relu"]


def test_empty_operands_are_left_out() -> None:
    text = """(float[1,3,4] x) => (float y) { s = Slice (x, zero, zero, one) r = Relu (s)
        c = Concat <axis = 1> (e, x, r) y = Neg (c) }"""
    constants = {"zero": np.array([0]), "one": np.array([1]), "e": np.zeros((1, 0, 4), np.float32)}
    assert ops(rewritten(text, {"x": random(1, 3, 4)}, **constants)) == ["Neg"]


def test_names_of_outputs_and_layers_stay() -> None:
    model = normalize(graph('(float[2,3] x) => (float y) { y = Einsum <equation = "ij->ji"> (x) }'))
    model.nodes[0].name = "turn"
    rewrite_forms(model)
    assert [(n.op_type, n.name, n.outputs[0].name) for n in model.nodes] == [("Transpose", "turn", "y")]
    assert isinstance(model.model, oir.Model)


def test_rank_six_behind_an_unknown_batch_is_rewritten_with_a_batch_of_one() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,8,4,4] x) => (float[M,2,16,16] y)
    <int64[6] cut = {-1, 2, 2, 2, 8, 8}, int64[4] large = {-1, 2, 16, 16}, float[4] twice = {1.0, 1.0, 2.0, 2.0}>
    {r = Resize<mode="nearest">(x, , twice) s = Reshape(r, cut) t = Transpose<perm=[0,1,4,2,5,3]>(s)
    y = Reshape(t, large)}"""
    graph = load(onnx.parser.parse_model(text))
    assert notes_of(graph) == ["the batch is fixed to 1: the network computes shapes from it"]
    prepare_for_target(graph)
    assert max(len(shape_of(v) or ()) for node in graph.nodes for v in node.outputs) <= 5
