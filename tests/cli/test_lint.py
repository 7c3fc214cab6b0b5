"""hexaquant lint: every layer with its verdict, its reason and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
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


def worse_net(path: Path) -> Path:
    """BatchNorm behind Relu, a chain of Transposes, an outlier channel."""
    text = """<ir_version: 10, opset_import: ["" : 21]>
    worse (float[N,3,8,8] x) => (float[N,5,8,8] y) {
        c = Conv <pads=[1,1,1,1]> (x, w)
        t = Transpose <perm=[0,2,3,1]> (c)
        u = Transpose <perm=[0,3,1,2]> (t)
        r = Relu (u)
        y = BatchNormalization (r, g, b, m, v)
    }"""
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(text)
    weight = rng.standard_normal((5, 3, 3, 3))
    weight[2] *= 50
    arrays = {"w": weight, "g": np.ones(5), "b": np.ones(5), "m": np.zeros(5), "v": np.ones(5)}
    for name, array in arrays.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    for node in model.graph.node:
        node.name = f"n_{node.output[0]}"
    onnx.save(model, path)
    return path


def test_findings_are_printed_by_layer_and_written_to_the_report(tmp_path: Path) -> None:
    net = worse_net(tmp_path / "net.onnx")
    done = hexaquant("lint", net, "--report", tmp_path / "lint.json", "--json")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "lint.json").read_text()) == done.document
    assert done.document["severities"] == {"error": 0, "warning": 2, "info": 1}
    entry = next(f for f in done.document["findings"] if f["rule"] == "outlier-channel")
    assert entry["severity"] == "warning" and entry["node"] == "n_c" and entry["cost_db"] is None
    assert set(entry) == {
        *("rule", "severity", "layer", "node", "source", "operator", "tensor", "text", "why", "fix", "fixable"),
        "cost_db",
    }
    text = hexaquant("lint", net).out
    assert "n_c" in text and "outlier-channel" in text and "info transpose-chain: 1x" in text and "2 warnings" in text


def test_data_give_the_cost_of_each_finding(tmp_path: Path) -> None:
    net = worse_net(tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(1).standard_normal((6, 3, 8, 8)).astype(np.float32))
    done = hexaquant("lint", net, "--data", tmp_path / "data.npz", "--samples", 4, "--json")
    assert done.code == 0 and done.document["samples"] == 4
    assert any(f["cost_db"] is not None for f in done.document["findings"])


def test_suppressed_rules_stay_silent(tmp_path: Path) -> None:
    net = worse_net(tmp_path / "net.onnx")
    done = hexaquant("lint", net, "--suppress", "outlier-channel:n_c", "--suppress", "batchnorm", "--json")
    assert {f["rule"] for f in done.document["findings"]} == {"transpose-chain"} and done.document["suppressed"] == 2
    other = hexaquant("lint", net, "--suppress", "outlier-channel:elsewhere*", "--json")
    assert other.document["suppressed"] == 0
    (tmp_path / "lint.yaml").write_text("suppress: [batchnorm]\nseverity: {outlier-channel: info}\n")
    listed = hexaquant("lint", net, "--config", tmp_path / "lint.yaml", "--fail-on", "warning", "--json")
    assert listed.code == 0 and listed.document["severities"]["warning"] == 0
    hexaquant("lint", net, "--suppress", "outlier-chanel").assert_refused(2, "outlier-channel")
    (tmp_path / "lint.yaml").write_text("suppres: [batchnorm]\n")
    hexaquant("lint", net, "--config", tmp_path / "lint.yaml").assert_refused(2, "suppress")


def test_fail_on_warning_exits_1(tmp_path: Path) -> None:
    net = worse_net(tmp_path / "net.onnx")
    hexaquant("lint", net, "--fail-on", "warning").assert_refused(1, "2 warnings", "n_c")
    hexaquant("lint", net, "--fail-on", "never").assert_refused(2, "--fail-on")


def test_fix_writes_a_network_that_computes_the_same(tmp_path: Path) -> None:
    net, mended = worse_net(tmp_path / "net.onnx"), tmp_path / "mended.onnx"
    done = hexaquant("lint", net, "--fix", "-o", mended, "--json")
    assert done.code == 0, done.err
    assert [(r["rule"], r["applied"]) for r in done.document["repairs"]] == [("transpose-chain", True)]
    assert "Transpose" not in [node.op_type for node in onnx.load(mended).graph.node]
    x = {"x": np.random.default_rng(2).standard_normal((2, 3, 8, 8)).astype(np.float32)}
    before, after = (onnxruntime.InferenceSession(p).run(None, x)[0] for p in (net, mended))
    np.testing.assert_allclose(after, before, atol=1e-6 * np.abs(before).max())
    hexaquant("lint", net, "--fix").assert_refused(2, "--fix", "-o")
    hexaquant("lint", net, "--fix", "-o", tmp_path / "out").assert_refused(2, ".onnx")


def test_an_artifact_folder_is_checked_with_its_own_encodings(deployed: Path, data: Path) -> None:
    assert hexaquant("lint", deployed, "--data", data).code == 0
    file = deployed / "model.encodings"
    document = json.loads(file.read_text())
    entry = next(e for e in document["activation_encodings"] if e["name"] == "y")
    entry["scale"] = [entry["scale"][0] * 40]
    file.write_text(json.dumps(document))
    hexaquant("lint", deployed, "--data", data).assert_refused(3, "'y'", "is encoded for")


def reshaped_by_an_input(path: Path) -> Path:
    """float16, with a shape that is an input."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float16[1,2,4] x, int64[2] dims) => (float16[1,8] y) {r = Relu(x) y = Reshape(r, dims)}"""
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def test_an_input_becomes_a_constant_and_what_import_changed_is_said(tmp_path: Path) -> None:
    file = reshaped_by_an_input(tmp_path / "net.onnx")
    assert hexaquant("lint", file).code != 0
    done = hexaquant("lint", file, "--input", "dims=1,8", "--json")
    assert done.code == 0, done.err
    notes = ["input 'x' is float32 here, FLOAT16 in the file", "output 'y' is float32 here, FLOAT16 in the file"]
    assert done.document["notes"] == notes and all(note in done.err for note in notes)
    hexaquant("lint", file, "--input", "dims").assert_refused(2, "--input dims is not of the form")
    hexaquant("lint", file, "--input", "dims=1,8", "--state", "x=z").assert_refused(2, "no output 'z'")


def test_quantize_says_and_records_what_import_changed(tmp_path: Path) -> None:
    file = reshaped_by_an_input(tmp_path / "net.onnx")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).standard_normal((10, 1, 2, 4)).astype(np.float16))
    common = [file, "--data", tmp_path / "x.npz", "--input", "dims=1,8"]
    done = hexaquant("quantize", *common, "-o", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert "input 'x' is float32 here, FLOAT16 in the file" in done.err
    assert len(done.document["notes"]) == 2
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["sections"]["quantization"]["notes"] == done.document["notes"]
