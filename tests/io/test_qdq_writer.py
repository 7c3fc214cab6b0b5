"""QDQ models that we write: names, storage types, blocks, LPBQ, fused activations, converts, native I/O; read back."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as oir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hexaquant.core.encoding import Encoding, encoding_of, float_encoding
from hexaquant.core.errors import EncodingError, InputError
from hexaquant.core.grid import Grid, Lpbq, PerBlock, PerChannel
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.io.qdq_writer import to_qdq
from hexaquant.ir.graph import CONVERT, Graph

Run = Callable[..., list[np.ndarray]]

CONV = """
<ir_version: 10, opset_import: ["": 21]>
conv (float[N,4,6,6] x, float[8,4,KS,KS] w, float[8] b) => (float[N,8,6,6] y)
{ c = Conv <pads=[PP,PP,PP,PP]> (x, w, b)
  y = Relu (c) }
"""
MATMUL = """
<ir_version: 10, opset_import: ["": 21]>
mm (float[N,8] x, float[8,4] w) => (float[N,4] y)
{ y = MatMul (x, w) }
"""


def with_data(text: str, **arrays: np.ndarray) -> Graph:
    """A Graph from ONNX text some of whose inputs become initializers."""
    model = oir.from_onnx_text(text)
    for value in [v for v in model.graph.inputs if v.name in arrays]:
        value.const_value = oir.tensor(arrays[value.name], name=value.name)
        model.graph.inputs.remove(value)
        model.graph.register_initializer(value)
    return Graph(model)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def conv_graph(kernel: int = 3) -> Graph:
    text = CONV.replace("KS", str(kernel)).replace("PP", str(kernel // 2))
    return with_data(text, w=random(8, 4, kernel, kernel), b=random(8, seed=1))


def matmul_graph() -> Graph:
    return with_data(MATMUL, w=random(8, 4))


def activation(low: float, high: float, bits: int = 8, **kind: bool) -> Encoding:
    return encoding_of(torch.tensor([low, high]), Grid(bits, **kind))


def weight(graph: Graph, grid: Grid) -> Encoding:
    return encoding_of(torch.from_numpy(graph.initializers["w"].const_value.numpy().copy()), grid)


def bias_of(x: Encoding, w: Encoding) -> Encoding:
    scale = x.scale * w.scale
    return Encoding(Grid(32, True, True, PerChannel(0)), scale, torch.full_like(scale, -(2.0**31)))


def conv_encodings(graph: Graph, bits: int = 8) -> dict[str, Encoding]:
    x, w = activation(-3, 3), weight(graph, Grid(bits, True, True, PerChannel(0)))
    return {"x": x, "w": w, "b": bias_of(x, w), "y": activation(0, 5)}


def checked(graph: Graph) -> Graph:
    onnx.checker.check_model(oir.to_proto(graph.model), full_check=True)
    return graph


def assert_reads_back(graph: Graph, encodings: dict[str, Encoding], original: Graph) -> None:
    floats, again = from_qdq(graph)
    quantized = {n: e for n, e in encodings.items() if not e.grid.is_float}
    assert set(again) == set(quantized)
    for name, encoding in quantized.items():
        assert again[name].same_as(encoding), name
    assert [v.name for v in floats.inputs] == [v.name for v in original.inputs]
    assert [v.name for v in floats.outputs] == [v.name for v in original.outputs]


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("prequantize", [True, False])
def test_per_channel_conv_equals_the_definition(bits: int, prequantize: bool, run_ort: Run) -> None:
    graph = conv_graph()
    encodings = conv_encodings(graph, bits)
    qdq = checked(to_qdq(graph, encodings, prequantize=prequantize))
    x = random(2, 4, 6, 6, seed=3)
    data = {n: torch.from_numpy(v.const_value.numpy().copy()) for n, v in graph.initializers.items()}
    b = torch.round(data["b"].double() / encodings["b"].scale) * encodings["b"].scale
    quantized_x = encodings["x"].fake_quantize(torch.from_numpy(x))
    out = torch.nn.functional.conv2d(quantized_x, encodings["w"].fake_quantize(data["w"]), b.float(), padding=1)
    expected = encodings["y"].fake_quantize(out.relu())
    difference = (torch.from_numpy(run_ort(qdq, x)[0]) - expected).abs().max()
    assert difference <= encodings["y"].scale * 1.01
    assert_reads_back(qdq, encodings, graph)


def test_names_and_storage(net: Graph) -> None:
    graph = conv_graph()
    qdq = to_qdq(graph, conv_encodings(graph, 4))
    dtypes = {name: v.dtype.name for name, v in qdq.initializers.items()}
    assert dtypes["w_q"] == "INT4" and dtypes["b_q"] == "INT32" and dtypes["x_zero_point"] == "UINT8"
    assert "w" not in dtypes and dtypes["w_scale"] == "FLOAT"
    values = {v.name for v in qdq.values()}
    assert {"x", "x_q", "x_qdq", "w_qdq", "b_qdq", "c", "y_float", "y_q", "y"} <= values
    packed = {i.name: i for i in oir.to_proto(qdq.model).graph.initializer}["w_q"]
    assert len(packed.raw_data) == 8 * 4 * 3 * 3 // 2


def test_the_given_graph_is_left_as_it_was() -> None:
    graph = conv_graph()
    graph.nodes[1].name = "relu"
    before = oir.to_proto(graph.model).SerializeToString(deterministic=True)
    native = to_qdq(graph, conv_encodings(graph), bypass=["relu"], native_io=True)
    native_before = oir.to_proto(native.model).SerializeToString(deterministic=True)
    from_qdq(native)
    assert oir.to_proto(native.model).SerializeToString(deterministic=True) == native_before
    assert oir.to_proto(graph.model).SerializeToString(deterministic=True) == before


def test_signed_storage_of_activations() -> None:
    graph = conv_graph()
    encodings = conv_encodings(graph) | {"x": activation(-3, 3, signed=True), "y": activation(0, 5, signed=True)}
    qdq = checked(to_qdq(graph, encodings))
    assert qdq.initializers["x_zero_point"].dtype == oir.DataType.INT8
    assert_reads_back(qdq, encodings, graph)


@pytest.mark.parametrize("prequantize", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_of_a_convolution(kernel: int, bits: int, prequantize: bool, run_ort: Run) -> None:
    graph = conv_graph(kernel)
    encoding = weight(graph, Grid(bits, True, True, PerBlock(1, 2, 0)))
    qdq = checked(to_qdq(graph, {"w": encoding}, prequantize=prequantize))
    w = torch.from_numpy(graph.initializers["w"].const_value.numpy().copy())
    b = torch.from_numpy(graph.initializers["b"].const_value.numpy().copy())
    x = random(1, 4, 6, 6)
    expected = torch.nn.functional.conv2d(torch.from_numpy(x), encoding.fake_quantize(w), b, padding=kernel // 2)
    assert np.allclose(run_ort(qdq, x)[0], expected.relu(), atol=1e-5)
    assert_reads_back(qdq, {"w": encoding}, graph)


@pytest.mark.parametrize("layout", [PerBlock(0, 2, 1), Lpbq(0, 4, 1, 8), PerChannel(1)])
def test_blocks_along_the_rows_of_a_matmul(layout: PerBlock | Lpbq | PerChannel, run_ort: Run) -> None:
    graph = matmul_graph()
    encoding = weight(graph, Grid(4, True, True, layout))
    qdq = checked(to_qdq(graph, {"w": encoding}))
    w = torch.from_numpy(graph.initializers["w"].const_value.numpy().copy())
    x = random(3, 8)
    assert np.allclose(run_ort(qdq, x)[0], torch.from_numpy(x) @ encoding.fake_quantize(w), atol=1e-6)
    assert_reads_back(qdq, {"w": encoding}, graph)


def test_lpbq_has_the_form_the_target_takes() -> None:
    qdq = to_qdq(matmul_graph(), {"w": weight(matmul_graph(), Grid(4, True, True, Lpbq(0, 4, 1, 8)))})
    scale, data = (n for n in qdq.nodes if n.op_type == "DequantizeLinear")
    assert qdq.initializers["w_scale_q"].dtype == oir.DataType.UINT8
    assert tuple(qdq.initializers["w_scale_q"].shape) == (2, 4)
    assert scale.attributes["axis"].as_int() == 1 and scale.outputs[0] is data.inputs[1]
    assert data.attributes["axis"].as_int() == 0 and data.attributes["block_size"].as_int() == 4
    assert data.inputs[2].dtype == oir.DataType.INT4


def test_float16_tensors_get_no_qdq() -> None:
    graph = conv_graph()
    qdq = to_qdq(graph, conv_encodings(graph) | {"x": float_encoding(16)})
    assert not any(n.op_type == "QuantizeLinear" and n.inputs[0].name == "x" for n in qdq.nodes)
    assert not [n for n in to_qdq(graph, {"x": float_encoding(16)}).nodes if "Linear" in n.op_type]


def test_a_fused_activation_gives_its_name_to_its_producer(run_ort: Run) -> None:
    graph = conv_graph()
    relu = graph.nodes[1]
    relu.name = "the_relu"
    fused = checked(to_qdq(graph, conv_encodings(graph), bypass=["the_relu"]))
    assert "Relu" not in {n.op_type for n in fused.nodes}
    assert [v.name for v in fused.outputs] == ["y"]
    x = random(2, 4, 6, 6)
    assert np.array_equal(run_ort(fused, x)[0], run_ort(to_qdq(graph, conv_encodings(graph)), x)[0])


def test_an_activation_whose_input_others_read_cannot_be_fused() -> None:
    graph = Graph(
        oir.from_onnx_text(
            '<ir_version: 10, opset_import: ["": 21]> g (float[2] x) => (float[2] y)'
            "{ c = Neg(x)\n r = Relu(c)\n y = Add(c, r) }"
        )
    )
    graph.nodes[1].name = "relu"
    with pytest.raises(EncodingError, match="cannot be fused"):
        to_qdq(graph, {}, bypass=["relu"])
    with pytest.raises(EncodingError, match="no node 'other'"):
        to_qdq(graph, {}, bypass=["other"])


def test_native_io_makes_inputs_and_outputs_integers(run_ort: Run) -> None:
    graph = conv_graph()
    encodings = conv_encodings(graph)
    native = checked(to_qdq(graph, encodings, native_io=True))
    assert native.inputs[0].dtype == native.outputs[0].dtype == oir.DataType.UINT8
    assert native.outputs[0].name == "y"
    x = random(2, 4, 6, 6)
    q = encodings["x"].quantize(torch.from_numpy(x)).numpy().astype(np.uint8)
    expected = run_ort(to_qdq(graph, encodings), x)[0]
    assert np.array_equal(encodings["y"].dequantize(torch.from_numpy(run_ort(native, q)[0])), expected)
    assert_reads_back(native, encodings, graph)


def test_a_graph_output_that_is_also_read_inside(run_ort: Run) -> None:
    text = (
        '<ir_version: 10, opset_import: ["": 21]> g (float[4] x) => (float[4] y, float[4] z) {y = Neg(x)\n z = Relu(y)}'
    )
    graph = Graph(oir.from_onnx_text(text))
    encodings = {"x": activation(-2, 2), "y": activation(-1, 1), "z": activation(0, 1)}
    for native in (False, True):
        qdq = checked(to_qdq(graph, encodings, native_io=native))
        assert [v.name for v in qdq.outputs] == ["y", "z"]
        assert_reads_back(qdq, encodings, graph)
    y, z = run_ort(to_qdq(graph, encodings), np.array([-3, -0.5, 0.3, 3], np.float32))
    assert y.min() >= encodings["y"].min and np.allclose(z, np.maximum(y, 0), atol=float(encodings["z"].scale))


def test_names_that_are_taken_are_avoided_and_still_read_back() -> None:
    text = '<ir_version: 10, opset_import: ["": 21]> g (float[4] x, float[4] x_q) => (float[4] y) {y = Add(x, x_q)}'
    graph = Graph(oir.from_onnx_text(text))
    encodings = {"x": activation(-2, 2), "x_q": activation(-1, 1), "y": activation(-3, 3)}
    assert_reads_back(checked(to_qdq(graph, encodings)), encodings, graph)


def test_a_convert_becomes_dequantize_then_quantize(run_ort: Run) -> None:
    text = (
        '<ir_version: 10, opset_import: ["": 21]> g (float[4] x) => (float[4] y)'
        "{ wide = Identity(x)\n a = Neg(wide)\n y = Add(a, x) }"
    )
    graph = Graph(oir.from_onnx_text(text))
    graph.nodes[0].metadata_props[CONVERT] = "asymmetric:16"
    encodings = {
        "x": activation(-2, 2),
        "wide": activation(-2, 2, 16),
        "a": activation(-2, 2, 16),
        "y": activation(-2, 2),
    }
    qdq = checked(to_qdq(graph, encodings))
    assert "Identity" not in {n.op_type for n in qdq.nodes}
    second = next(n for n in qdq.nodes if n.outputs[0].name == "wide_q")
    assert second.inputs[0].producer().op_type == "DequantizeLinear"
    floats, again = from_qdq(qdq)
    assert {n: e.same_as(encodings[n]) for n, e in again.items()} == dict.fromkeys(encodings, True)
    assert [CONVERT in n.metadata_props for n in floats.nodes] == [True, False, False]
    x = random(4)
    assert np.array_equal(run_ort(to_qdq(floats, again), x)[0], run_ort(qdq, x)[0])


@pytest.mark.parametrize(
    "name, encoding, message",
    [
        ("z", activation(0, 1), "'z'"),
        ("w", encoding_of(torch.ones(5), Grid(8, True, True, PerChannel(0))), r"'w' does not fit its shape \(8, 4"),
        ("x", encoding_of(torch.ones(2), Grid(32)), "at most 16|cannot store"),
        ("x", encoding_of(torch.ones(2), Grid(5)), "ONNX cannot store uint5"),
    ],
)
def test_encodings_that_do_not_fit(name: str, encoding: Encoding, message: str) -> None:
    with pytest.raises(EncodingError, match=message):
        to_qdq(conv_graph(), {name: encoding})


def test_an_old_opset_is_refused() -> None:
    graph = conv_graph()
    graph.model.opset_imports[""] = 13
    with pytest.raises(InputError, match="opset below 21"):
        to_qdq(graph, {})


@settings(max_examples=40, deadline=None)
@given(
    bits=st.sampled_from([4, 8, 16]),
    signed=st.booleans(),
    layout=st.sampled_from([None, PerChannel(0), PerChannel(1), PerBlock(0, 4, 1), PerBlock(1, 2, 0)]),
    seed=st.integers(0, 99),
)
def test_any_weight_grid_survives_writing_and_reading(bits: int, signed: bool, layout, seed: int) -> None:
    graph = matmul_graph()
    w = torch.from_numpy(random(8, 4, seed=seed))
    grid = Grid(bits, signed, signed, layout) if layout else Grid(bits, signed, signed)
    encodings = {"w": encoding_of(w, grid), "x": activation(-1, 2, 16, symmetric=True)}
    qdq = to_qdq(graph, encodings)
    floats, again = from_qdq(qdq)
    assert all(again[n].same_as(e) for n, e in encodings.items())
    on_grid = encodings["w"].fake_quantize(torch.from_numpy(graph.initializers["w"].const_value.numpy().copy()))
    assert np.array_equal(floats.initializers["w"].const_value.numpy(), on_grid.numpy())
