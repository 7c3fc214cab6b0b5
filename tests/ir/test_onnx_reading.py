"""What a file must be to be read, and the sentence the user gets when it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx_text import assert_same, graph, ops, proto, random

from hexaquant.core.errors import InputError
from hexaquant.frontends import load
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize

CONV = "(float[1,3,8,8] x) => (float[1,4,6,6] y) { y = Conv(x, w) }"


def saved(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def with_external_weight(folder: Path) -> Path:
    path = folder / "m.onnx"
    onnx.save(proto(CONV, w=random(4, 3, 3, 3)), path, save_as_external_data=True, location="m.bin", size_threshold=0)
    return path


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.onnx: there is no such file"):
        load(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("content", [b"this is not a model", b"", b"\x00" * 64, b"\x89PNG\r\n\x1a\n" + b"\xff" * 99])
def test_file_that_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"m\.onnx"):
        load(path)


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", proto(CONV, w=random(4, 3, 3, 3)))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"m\.onnx"):
        load(path)


@pytest.mark.parametrize("opset", [6, onnx.defs.onnx_opset_version() + 1])
def test_opset_out_of_range_is_refused(opset: int) -> None:
    with pytest.raises(InputError, match=f"opset {opset} is not supported"):
        normalize(graph("(float[1] x) => (float[1] y) { y = Relu(x) }", opset))


def test_external_data_is_loaded(tmp_path: Path) -> None:
    path = with_external_weight(tmp_path)
    assert_same(onnx.load(path), load(path), {"x": random(1, 3, 8, 8)})


def test_missing_external_data_names_file_and_weight(tmp_path: Path) -> None:
    path = with_external_weight(tmp_path)
    (tmp_path / "m.bin").unlink()
    with pytest.raises(InputError, match=r"'m\.bin' of weight 'w' is missing"):
        load(path)


def test_truncated_external_data_is_refused(tmp_path: Path) -> None:
    path = with_external_weight(tmp_path)
    data = tmp_path / "m.bin"
    data.write_bytes(data.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"'m\.bin' is truncated"):
        load(path)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd"])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 1000)
    path = with_external_weight(folder)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    with pytest.raises(InputError, match="outside the model's folder"):
        load(saved(path, model))


def test_constant_shorter_than_its_shape_is_refused(tmp_path: Path) -> None:
    model = proto(CONV, w=random(4, 3, 3, 3))
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    with pytest.raises(InputError, match="constant 'w'"):
        load(saved(tmp_path / "m.onnx", model))


@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT, onnx.TensorProto.INT4])
def test_a_constant_that_claims_exabytes_is_refused_unallocated(tmp_path: Path, kind: int) -> None:
    model = proto(CONV, w=random(4, 3, 3, 3))
    model.graph.initializer[0].data_type = kind
    model.graph.initializer[0].dims[3] = 2**40
    with pytest.raises(InputError, match=r"constant 'w' do not fit its shape \[4, 3, 3, 1099511627776\]"):
        load(saved(tmp_path / "m.onnx", model))


def test_a_text_constant_without_its_text_is_refused(tmp_path: Path) -> None:
    model = proto(CONV, w=random(4, 3, 3, 3))
    model.graph.initializer[0].data_type = onnx.TensorProto.STRING
    with pytest.raises(InputError, match="constant 'w' do not fit its shape"):
        load(saved(tmp_path / "m.onnx", model))


@pytest.mark.parametrize("kind", [0, 33])
def test_a_constant_node_of_no_known_type_is_refused(tmp_path: Path, kind: int) -> None:
    model = proto("(float[4] x) => (float[4] y) { c = Constant <value = float[4] {1, 2, 3, 4}> () y = Add(x, c) }")
    model.graph.node[0].attribute[0].t.data_type = kind
    with pytest.raises(InputError, match="constant 'c' states no known data type"):
        load(saved(tmp_path / "m.onnx", model))


def test_nan_in_a_weight_is_refused() -> None:
    weight = random(4, 3, 3, 3)
    weight[0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="weight 'w' holds NaN"):
        normalize(graph(CONV, w=weight))


def test_nan_in_a_constant_node_is_refused() -> None:
    with pytest.raises(InputError, match="'c' holds NaN"):
        normalize(graph("(float[2] x) => (float[2] y) { c = Constant<value = float[2] {1.0, nan}>() y = Add(x, c) }"))


def test_infinity_is_refused_in_weights_but_not_in_masks() -> None:
    weight = random(4, 3, 3, 3)
    weight[0] = np.inf
    with pytest.raises(InputError, match="weight 'w' holds infinity"):
        normalize(graph(CONV, w=weight))
    masked = graph("(float[1,2] x) => (float[1,2] y) { y = Add(x, m) }", m=np.array([[0, -np.inf]], np.float32))
    assert ops(normalize(masked)) == ["Add"]


def test_zero_size_input_is_refused_until_a_shape_is_given() -> None:
    model = graph("(float[0,3] x) => (float[0,3] y) { y = Relu(x) }")
    with pytest.raises(InputError, match=r"input 'x' has a dimension of size 0 .*--shape x="):
        normalize(model)


def test_initializers_listed_as_inputs_are_not_inputs() -> None:
    model = graph("(float[1,3,8,8] x, float[4,3,3,3] w) => (float[1,4,6,6] y) { y = Conv(x, w) }", w=random(4, 3, 3, 3))
    assert [v.name for v in normalize(model).inputs] == ["x"]


def test_weights_as_constant_nodes_become_initializers_under_their_names() -> None:
    model = proto(
        "(float[N,2] x) => (float[N,2] y) { w = Constant<value = float[2,2] {1,2,3,4}>() y = MatMul(x, w) }", 13
    )
    result = load(model)
    assert list(result.initializers) == ["w"] and ops(result) == ["MatMul"]
    assert_same(model, result, {"x": random(3, 2)})


def test_data_dependent_control_flow_is_refused() -> None:
    text = """(float[2] x, bool c) => (float[2] y) {
      y = If(c) <then_branch = a () => (float[2] p) { p = Relu(x) },
                 else_branch = b () => (float[2] q) { q = RandomNormalLike(x) }>
    }"""
    with pytest.raises(InputError, match="If that depends on data"):
        normalize(graph(text))


def test_sequences_are_refused() -> None:
    text = "(float[2] x) => (float[2] y) { s = SequenceConstruct(x, x) y = ConcatFromSequence<axis = 0>(s) }"
    with pytest.raises(InputError, match="sequences"):
        normalize(graph(text))


def test_unknown_suffix_lists_what_is_supported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown kind of model '\.caffemodel'; give \.onnx"):
        load(tmp_path / "m.caffemodel")
    with pytest.raises(InputError, match="there is no such file"):
        load("net.keras")


def test_object_that_is_no_model_is_refused() -> None:
    with pytest.raises(InputError, match="type int cannot be loaded"):
        load(3)


def test_tensor_that_nothing_produces_is_named() -> None:
    model = proto("(float[2] x) => (float[2] y) { a = Relu(x) y = Neg(a) }")
    model.graph.node[1].input[0] = "lost"
    with pytest.raises(InputError, match=r"Neg .* reads 'lost', which nothing produces"):
        load(model)


def test_damaged_files_never_escape_as_other_errors(tmp_path: Path) -> None:
    content = proto(CONV, w=random(4, 3, 3, 3)).SerializeToString()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(content[: rng.integers(1, len(content))] if rng.random() < 0.3 else content)
        for position in rng.integers(0, min(len(damaged), 60), size=2):
            damaged[position] = rng.integers(0, 256)
        path = tmp_path / "m.onnx"
        path.write_bytes(bytes(damaged))
        try:
            load(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 10


def test_normalizing_leaves_the_types_of_the_given_graph_as_they_were() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float16[1,4] x) => (float16[1,4] y) {y = Relu(x)}'
    model = onnx_ir.serde.from_proto(onnx.parser.parse_model(text))
    graph = Graph(model, "half")
    assert normalize(graph).inputs[0].dtype == onnx_ir.DataType.FLOAT
    assert graph.inputs[0].dtype == graph.outputs[0].dtype == onnx_ir.DataType.FLOAT16
