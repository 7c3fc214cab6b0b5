"""hexaquant lint: every layer with its verdict, its reason and what to do."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from cli.command import hexaquant
from cli.tiny import tiny_model


@pytest.fixture
def net(tmp_path: Path) -> Path:
    onnx.save(tiny_model(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def erf_net(path: Path) -> Path:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy")
    nodes = [helper.make_node("Erf", ["x"], ["e"], name="gate"), helper.make_node("Relu", ["e"], ["y"], name="act")]
    graph = helper.make_graph(nodes, "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def test_a_network_that_runs_is_listed_layer_by_layer(net: Path) -> None:
    done = hexaquant("lint", net, "--target", "qcs6490", "--json")
    assert done.code == 0, done.err
    layers = done.document["layers"]
    assert [layer["operator"] for layer in layers] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert {layer["verdict"] for layer in layers} == {"legal"} and done.document["counts"] == {"legal": 5}
    assert done.document["architecture"] == "v68" and done.document["measured_with"].startswith("onnxruntime-qnn ")


def test_a_refused_layer_has_the_librarys_reason_and_a_remedy(tmp_path: Path) -> None:
    done = hexaquant("lint", erf_net(tmp_path / "net.onnx"))
    done.assert_refused(3, "1 of 2 layers", "'gate'", "not supported", "use GELU")
    assert "gate" in done.out and "refused" in done.out and "1 error" in done.out
    assert "act" in hexaquant("lint", tmp_path / "net.onnx", "--layers").out


def test_bits_that_the_target_lacks_are_refused_with_bits_that_it_has(net: Path) -> None:
    done = hexaquant("lint", net, "--target", "v69", "--scheme", "w16a16", "--json")
    assert done.code == 3
    conv = done.document["layers"][0]
    assert conv["verdict"] == "refused" and "needs Hexagon v73" in conv["reason"] and "w8a16" in conv["remedy"]
    assert hexaquant("lint", net, "--target", "v73", "--scheme", "w16a16").code == 0


def test_overrides_decide_the_scheme_of_a_layer(net: Path, tmp_path: Path) -> None:
    (tmp_path / "mixed.yaml").write_text("y: w8a16\n")
    done = hexaquant("lint", net, "--overrides", tmp_path / "mixed.yaml", "--json")
    assert [layer["scheme"] for layer in done.document["layers"]] == ["w8a8"] * 4 + ["w8a16"]


def test_quantize_refuses_the_same_layer_before_calibration(tmp_path: Path) -> None:
    done = hexaquant("quantize", erf_net(tmp_path / "net.onnx"), "--random-data", "-o", tmp_path / "out")
    done.assert_refused(3, "'gate'", "not supported", "use GELU")
    assert not (tmp_path / "out").exists()
