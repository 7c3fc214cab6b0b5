"""Inputs that become constants, and the branches that they decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_text import assert_same, ops, random, run

from hexaquant.cli.options import parse_inputs
from hexaquant.core.errors import InputError
from hexaquant.frontends import load

X = {"x": random(2, 4)}


def branch(name: str, factor: float) -> onnx.GraphProto:
    """x * factor + 1, with a constant of its own."""
    nodes = [
        helper.make_node("Mul", ["x", f"{name}_f"], [f"{name}_m"]),
        helper.make_node("Relu", [f"{name}_m"], [f"{name}_y"]),
    ]
    value = numpy_helper.from_array(np.array(factor, np.float32), f"{name}_f")
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"{name}_y", 1, [2, 4])], [value])


def switched(path: Path, condition: list[onnx.NodeProto], *inputs: onnx.ValueInfoProto) -> Path:
    chosen = helper.make_node("If", ["c"], ["y"], then_branch=branch("a", 2.0), else_branch=branch("b", -3.0))
    graph = helper.make_graph(
        [*condition, chosen], "g", [helper.make_tensor_value_info("x", 1, [2, 4]), *inputs],
        [helper.make_tensor_value_info("y", 1, [2, 4])], [numpy_helper.from_array(np.array(16000), "rate")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("rate", [16000, 8000])
def test_a_branch_that_a_fixed_input_decides(tmp_path: Path, rate: int) -> None:
    rates = helper.make_tensor_value_info("sr", TensorProto.INT64, [])
    path = switched(tmp_path / "net.onnx", [helper.make_node("Equal", ["sr", "rate"], ["c"])], rates)
    graph = load(path, fixed={"sr": rate})
    assert [v.name for v in graph.inputs] == ["x"] and "If" not in ops(graph) and "Where" not in ops(graph)
    np.testing.assert_array_equal(run(graph, X)[0], run(onnx.load(path), X | {"sr": np.array(rate)})[0])


def test_two_pure_branches_become_a_choice(tmp_path: Path) -> None:
    condition = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Greater", ["m", "m0"], ["c"]),
    ]
    condition.insert(0, helper.make_node("Constant", [], ["m0"], value_float=1.0))
    path = switched(tmp_path / "net.onnx", condition)
    graph = load(path)
    assert "Where" in ops(graph) and "If" not in ops(graph)
    for sign in (1, -0.01):
        assert_same(onnx.load(path), graph, {"x": np.float32(sign) * np.abs(X["x"]) * 3})


def test_branches_of_different_shapes_are_refused_with_what_to_type(tmp_path: Path) -> None:
    flag = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    path = switched(tmp_path / "net.onnx", [], flag)
    model = onnx.load(path)
    other = model.graph.node[0].attribute[0].g
    other.node.append(helper.make_node("Concat", [other.output[0].name, "x"], ["wide"], axis=0))
    other.output[0].CopyFrom(helper.make_tensor_value_info("wide", 1, [4, 4]))
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "n"
    onnx.save(model, path)
    with pytest.raises(InputError, match="--input NAME=VALUE"):
        load(path)
    widens = model.graph.node[0].attribute[0].name == "then_branch"
    assert "Concat" not in ops(load(path, fixed={"c": not widens}))


@pytest.mark.parametrize(
    "fixed,words", [({"z": 1}, "has no input 'z'"), ({"sr": 0.5}, "does not fit"), ({"x": [1.0]}, "x")]
)
def test_what_does_not_fit_is_refused(tmp_path: Path, fixed: dict[str, object], words: str) -> None:
    rates = helper.make_tensor_value_info("sr", TensorProto.INT64, [])
    path = switched(tmp_path / "net.onnx", [helper.make_node("Equal", ["sr", "rate"], ["c"])], rates)
    if "x" in fixed:
        fixed = {"x": np.zeros((3, 3), np.float32)}
    with pytest.raises(InputError, match=words):
        load(path, fixed=fixed)


def test_the_flags_of_the_command_line() -> None:
    texts = ["sr=16000", "flags=1,0", "on=true", "t=0.5"]
    assert parse_inputs(texts) == {"sr": 16000, "flags": [1, 0], "on": 1, "t": 0.5}
    with pytest.raises(InputError, match="--input sr is not of the form"):
        parse_inputs(["sr"])
