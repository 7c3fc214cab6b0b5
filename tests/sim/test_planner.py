"""The plan: every float tensor has an entry, and each entry is what the target does with that tensor."""

from __future__ import annotations

import numpy as np
import pytest

from hexaquant.core.errors import TargetError
from hexaquant.core.grid import FLOAT16, Grid, PerChannel, PerTensor
from hexaquant.frontends import load
from hexaquant.htp.for_target import prepare_for_target
from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import find_target
from hexaquant.ir.graph import Graph
from hexaquant.sim.constants import is_parameter
from hexaquant.sim.planner import is_float_value, make_plan
from ir.onnx_text import random
from networks import NETWORKS
from sim.nets import conv_net, net, planned

MANY = """(float[N,4,8,8] image, int64[N,3] ids) => (float[N,7,12] y, float[N,4] z, int64[N,4] best) {
    n = InstanceNormalization (image, gamma, beta)
    c = Conv <pads=[1,1,1,1]> (n, w, cb)
    s = Sigmoid (c)
    silu = Mul (c, s)
    small = Resize <mode="nearest"> (silu, , scales)
    left, right = Split <axis=1, num_outputs=2> (small)
    joined = Concat <axis=1> (right, left)
    limited = Clip (joined, lo, hi)
    tokens = Reshape (limited, shape)
    words = Gather (table, ids)
    all = Concat <axis=1> (tokens, words)
    normed = LayerNormalization (all, g, b)
    key = Transpose <perm=[0,2,1]> (normed)
    scores = MatMul (normed, key)
    weights = Softmax (scores)
    mixed = MatMul (weights, normed)
    positive = Greater (mixed, zero)
    chosen = Where (positive, mixed, slope)
    y = MatMul (chosen, head)
    pooled = GlobalAveragePool (small)
    z = Flatten (pooled)
    best, order = TopK (z, k)
}"""


def many_operators() -> Graph:
    """Convolution, attention, embedding, selection: what the rules distinguish, in one network."""
    floats = {"gamma": random(4), "beta": random(4), "w": random(4, 4, 3, 3), "cb": random(4), "table": random(9, 16)}
    floats |= {"g": random(16), "b": random(16), "head": random(16, 12), "scales": np.float32([1, 1, 0.5, 0.5])}
    floats |= {"lo": np.float32(-1), "hi": np.float32(1), "zero": np.float32(0), "slope": np.float32(0.1)}
    return net(MANY.replace("best, order", "top, best"), shape=np.array([0, 4, 16]), k=np.array([4]), **floats)


def attention() -> Graph:
    case = NETWORKS["attention"]
    args, kwargs = case.example()
    graph = load(case.build(), example_inputs=args, example_kwargs=kwargs)
    prepare_for_target(graph)
    return graph


def is_data(graph: Graph, name: str) -> bool:
    """Whether an operator reads ``name`` as data rather than as its configuration."""
    uses = [(node, index) for node in graph.nodes for index, v in enumerate(node.inputs) if v and v.name == name]
    return any(not is_parameter(node.op_type, index) for node, index in uses)


@pytest.fixture(scope="module", params=[many_operators, attention], ids=["many operators", "attention"])
def graph(request: pytest.FixtureRequest) -> Graph:
    return request.param()


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16", "w16a16", "fp16"])
def test_every_float_tensor_has_an_entry(graph: Graph, scheme: str) -> None:
    model = graph.clone()
    plan = planned(model, scheme)
    floats = {
        v.name for v in model.values() if is_float_value(v) and (not v.is_initializer() or is_data(model, v.name))
    }
    assert floats <= set(plan.tensors)
    assert set(plan.tensors) <= {v.name for v in model.values()}
    assert all(entry.reason for entry in plan if entry.how == "float")


def test_nothing_is_quantized_in_fp16(graph: Graph) -> None:
    assert not any(entry.is_quantized for entry in planned(graph.clone(), "fp16"))


def test_planning_again_adds_nothing(graph: Graph) -> None:
    model = graph.clone()
    overrides = {next(n.name for n in model.nodes if n.op_type in ("Conv", "Gemm")): "w8a16"}
    first = planned(model, "w8a8", overrides)
    count = len(model.nodes)
    second = planned(model, "w8a8", overrides)
    assert len(model.nodes) == count and dict(first.tensors) == dict(second.tensors)


def test_relu_is_fused_into_its_convolution() -> None:
    plan = planned(conv_net())
    assert plan.bypass == ("r",)
    assert (plan["c"].how, plan["c"].source, plan["c"].is_quantized) == ("fused", "r", False)
    assert (plan["r"].how, plan["r"].clamp, plan["r"].grid) == ("observed", (0.0, None), Grid(8))


def test_relu6_is_fused_with_its_bounds() -> None:
    plan = planned(conv_net("Clip", lo=np.float32(0), hi=np.float32(6)))
    assert plan.bypass == ("r",) and plan["r"].clamp == (0.0, 6.0)


@pytest.mark.parametrize("low", [-1.0, 0.5])
def test_a_clip_that_does_not_start_at_zero_stays(low: float) -> None:
    plan = planned(conv_net("Clip", lo=np.float32(low), hi=np.float32(6)))
    assert plan.bypass == () and plan["c"].how == plan["r"].how == "observed"


@pytest.mark.parametrize(
    ("outputs", "last"),
    [("float[2,6,6,6] y", "r = Relu (c)\n y = Add (r, c)"), ("float[2,6,6,6] y, float[2,6,6,6] c", "y = Relu (c)")],
    ids=["two readers", "a graph output"],
)
def test_relu_is_not_fused_when_others_see_its_input(outputs: str, last: str) -> None:
    text = f"(float[2,3,8,8] x) => ({outputs}) {{ c = Conv (x, w, b)\n {last} }}"
    plan = planned(net(text, w=random(6, 3, 3, 3), b=random(6)))
    assert plan.bypass == () and plan["c"].how == "observed"


def test_nothing_is_fused_on_symmetric_grids() -> None:
    plan = planned(conv_net(), "w16a16")
    assert plan.bypass == () and plan["c"].how == plan["r"].how == "observed"
    assert plan["r"].grid == Grid(16, False, True) and plan["w"].grid == Grid(16, True, True, PerChannel(0))


def test_relu_of_another_type_is_not_fused() -> None:
    assert planned(conv_net(), "w8a8", {"r": "w8a16"}).bypass == ()


def test_data_movement_shares_the_encoding_of_its_source() -> None:
    text = """(float[2,3,4,4] x) => (float[2,48] y) {
        c = Conv (x, w, b)
        t = Transpose <perm=[0,2,3,1]> (c)
        p = MaxPool <kernel_shape=[1,1]> (t)
        y = Flatten (p)
    }"""
    plan = planned(net(text, w=random(3, 3, 1, 1), b=random(3)))
    assert [plan[name].how for name in ("t", "y")] == ["shared", "shared"]
    assert plan.root("y").name == "c" and plan["y"].grid == plan["c"].grid


@pytest.mark.parametrize("op", ["Softmax", "Sigmoid", "HardSigmoid"])
@pytest.mark.parametrize(("scheme", "high"), [("w8a8", 1.0), ("w8a16", 1 - 2**-16)])
def test_operators_of_known_range_are_fixed(op: str, scheme: str, high: float) -> None:
    plan = planned(net(f"(float[2,4] x) => (float[2,4] y) {{ y = {op} (x) }}"), scheme)
    assert (plan["y"].how, plan["y"].low, plan["y"].high) == ("fixed", 0.0, high)


def test_tanh_uses_every_16_bit_step_of_its_range() -> None:
    plan = planned(net("(float[2,4] x) => (float[2,4] y) { y = Tanh (x) }"), "w8a16")
    assert (plan["y"].how, plan["y"].low, plan["y"].high) == ("fixed", -1.0, 1 - 2**-15)


def test_biases_are_derived_from_input_and_weight() -> None:
    plan = planned(conv_net())
    assert (plan["b2"].how, plan["b2"].source, plan["b2"].weight) == ("derived", "r", "w2")
    assert plan["b2"].grid == Grid(32, True, True, PerChannel(0))


@pytest.mark.parametrize(
    ("text", "shape", "granularity"),
    [
        ("(float[2,4,5,5] x) => (float[2,6,6,6] y) { y = ConvTranspose (x, w) }", (4, 6, 2, 2), PerChannel(1)),
        ("(float[2,4,5,5] x) => (float[2,6,6,6] y) { y = ConvTranspose <group=2> (x, w) }", (4, 3, 2, 2), PerTensor()),
        ("(float[2,4] x) => (float[2,6] y) { y = Gemm (x, w) }", (4, 6), PerChannel(1)),
        ("(float[2,4] x) => (float[2,6] y) { y = Gemm <transB=1> (x, w) }", (6, 4), PerChannel(0)),
        ("(float[2,3,4] x) => (float[2,3,6] y) { y = MatMul (x, w) }", (4, 6), PerChannel(1)),
    ],
)
def test_weights_have_one_scale_an_output_channel(text: str, shape: tuple[int, ...], granularity: object) -> None:
    plan = planned(net(text, w=random(*shape)))
    assert plan["w"].grid == Grid(8, True, True, granularity)  # type: ignore[arg-type]


def test_gamma_is_8_bit_whatever_the_activations_are() -> None:
    text = "(float[2,6] x) => (float[2,6] y) { y = LayerNormalization (x, g, b) }"
    plan = planned(net(text, g=random(6), b=random(6)), "w8a16")
    assert plan["g"].grid == Grid(8) and plan["y"].grid == Grid(16)
    assert (plan["b"].how, plan["b"].weight) == ("derived", "g")


def test_other_constants_are_on_the_grid_of_their_operator() -> None:
    plan = planned(net("(float[2,6] x) => (float[2,6] y) { y = Mul (x, k) }", k=random(6)), "w8a16")
    assert (plan["k"].role, plan["k"].how, plan["k"].grid) == ("constant", "own", Grid(16))


# what the target does not execute


@pytest.mark.parametrize(("op", "scheme", "bits"), [("Selu", "w8a8", 8), ("Log", "w8a16", 16), ("Selu", "w8a16", 16)])
def test_an_operator_without_such_a_kernel_computes_in_float16_between_converts(
    op: str, scheme: str, bits: int
) -> None:
    graph = net(
        f"(float[2,8] x) => (float[2,6] y) {{ a = {op} (x)\n y = Gemm (a, w, b) }}", w=random(8, 6), b=random(6)
    )
    plan = planned(graph, scheme)
    assert (plan["a"].how, plan["a"].grid) == ("float", FLOAT16)
    assert plan["a"].reason == f"the target has no {bits}-bit kernel for {op}: it computes in float16"
    assert plan[f"a_as_uint{bits}"].grid == Grid(bits) and plan["x"].grid == Grid(bits)


def test_log_has_an_8_bit_kernel() -> None:
    assert planned(net("(float[2,8] x) => (float[2,8] y) { y = Log (x) }"))["y"].grid == Grid(8)


def test_an_operator_without_a_float_kernel_is_quantized_in_an_fp16_network() -> None:
    graph = net("(float[2,8] x) => (float[2,8] y) { n = Neg (x)\n a = Asin (n)\n y = Neg (a) }")
    plan = planned(graph, "fp16")
    assert plan["a"].grid == plan["n_as_uint8"].grid == Grid(8)
    assert plan["y"].how == plan["n"].how == "float"


def test_a_refused_scheme_is_refused_first() -> None:
    with pytest.raises(TargetError, match="no kernels for 16-bit weights"):
        make_plan(conv_net(), find_target("sm8350"), SCHEMES["w16a16"])


def test_warnings_of_the_scheme_are_in_the_plan() -> None:
    assert "low-precision path" in planned(conv_net(), "w8a16", target="sm8350").warnings[0]


# converts and products


def test_one_convert_serves_all_readers_of_a_tensor() -> None:
    text = "(float[2,8] x) => (float[2,8] p, float[2,8] q) { a = Neg (x)\n p = Exp (a)\n q = Abs (a) }"
    graph = net(text)
    planned(graph, "w8a8", {"p": "w8a16", "q": "w8a16"})
    assert [node.op_type for node in graph.nodes].count("Identity") == 1
    assert {node.inputs[0].name for node in graph.nodes if node.outputs[0].name in "pq"} == {"a_as_uint16"}


def test_no_converts_where_all_is_of_one_type() -> None:
    graph = conv_net()
    planned(graph, "w8a16")
    assert [node.op_type for node in graph.nodes] == ["Conv", "Relu", "Conv"]


def test_moved_data_is_converted_after_the_movement() -> None:
    text = "(float[2,8] x) => (float[8,2] y) { a = Neg (x)\n t = Transpose (a)\n y = Exp (t) }"
    plan = planned(net(text), "w8a8", {"y": "w8a16"})
    assert plan["t"].how == "shared" and plan["t_as_uint16"].grid == Grid(16)


def test_16_bit_products_are_einsum_with_a_symmetric_second_operand() -> None:
    graph = net("(float[2,4,8] a, float[2,8,5] b) => (float[2,4,5] y) { y = MatMul (a, b) }")
    plan = planned(graph, "w8a16")
    assert [node.op_type for node in graph.nodes] == ["Einsum"]
    assert plan["b"].grid == Grid(16, False, True) and plan["a"].grid == Grid(16)


def test_8_bit_products_stay_as_they_are() -> None:
    graph = net("(float[2,4,8] a, float[2,8,5] b) => (float[2,4,5] y) { y = MatMul (a, b) }")
    assert planned(graph)["b"].grid == Grid(8) and graph.nodes[0].op_type == "MatMul"


def test_the_symmetric_operand_is_found_behind_data_movement() -> None:
    text = """(float[2,4,8] a, float[2,5,8] b) => (float[2,4,5] y) {
        n = Neg (b)
        t = Transpose <perm=[0,2,1]> (n)
        y = MatMul (a, t)
    }"""
    plan = planned(net(text), "w8a16")
    assert plan["n"].grid == Grid(16, False, True) and plan["t"].grid == plan["n"].grid


@pytest.mark.parametrize("op", ["Softmax", "Sigmoid"])
def test_a_second_operand_in_the_kernels_unsigned_encoding_is_converted(op: str) -> None:
    text = f"""(float[2,4,8] a, float[2,5,8] b) => (float[2,4,5] y) {{
        n = {op} (b)
        t = Transpose <perm=[0,2,1]> (n)
        y = MatMul (a, t)
    }}"""
    plan = planned(net(text), "w8a16")
    assert plan["n"].grid == Grid(16) and plan["n"].high == 1 - 2**-16
    assert plan["t_as_uint16"].grid == Grid(16, False, True)


def test_a_product_of_one_tensor_with_itself_in_a_16_bit_layer_gets_two_converts() -> None:
    graph = net("(float[2,8,8] x) => (float[2,8,8] y) { n = Neg (x)\n y = MatMul (n, n) }")
    plan = planned(graph, "w8a8", {"y": "w8a16"})
    converts = [entry.grid for entry in plan if entry.name.startswith("n_as")]
    assert converts == [Grid(16), Grid(16, False, True)]


def test_sigmoid_keeps_the_kernels_unsigned_encoding_when_activations_are_symmetric() -> None:
    plan = planned(net("(float[N,8] x) => (float[N,8] y) { y = Sigmoid (x) }"), "w16a16")
    grid = plan["y"].grid
    assert grid is not None and not grid.symmetric and plan["y"].high == 1 - 2**-16
    assert plan["x"].grid is not None and plan["x"].grid.symmetric
