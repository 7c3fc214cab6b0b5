"""qairt-converter with AIMET's samples, as scripts for the original call it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cli.tools.programs import program

AIMET = Path(__file__).parents[2] / "data" / "aimet"
NET = AIMET / "net_fp32.onnx"
W8A8, W8A16 = AIMET / "onnx_w8a8_1.0.0.encodings", AIMET / "onnx_w8a16_2.0.0.encodings"


def test_a_script_for_the_originals_runs(tmp_path: Path) -> None:
    """converter, context binary generator, net run; the SoC and the names of inputs and outputs pass along."""
    done = program("qairt-converter", "-i", NET, "-q", W8A8, "-o", tmp_path / "net.dlc", "--target_soc_model", "SM8550")
    assert done.code == 0, done.err
    assert "25 exact, 2 inherited" in done.out and "/dw/Conv_output_0" in done.out and "fused" in done.out
    made = program("qnn-context-binary-generator", "--backend", "libQnnHtp.so", "--model", "libQnnModelDlc.so",
                   "--dlc_path", tmp_path / "net.dlc", "--binary_file", "net", "--output_dir", tmp_path)  # fmt: skip
    assert made.code == 0 and "sm8550" in made.err + made.out
    np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32).tofile(tmp_path / "x.raw")
    (tmp_path / "list.txt").write_text(f"input:={tmp_path / 'x.raw'}\n")
    ran = program("qnn-net-run", "--backend", "libQnnHtp.so", "--retrieve_context", tmp_path / "net.bin",
                  "--input_list", tmp_path / "list.txt", "--output_dir", tmp_path / "out")  # fmt: skip
    assert ran.code == 0, ran.err
    result = np.fromfile(tmp_path / "out" / "Result_0" / "output.raw", np.float32)
    assert result.shape == (10,) and abs(result.sum() - 1) < 0.03


def test_json_names_files_coverage_and_departures(tmp_path: Path) -> None:
    done = program("qairt-converter", "-i", NET, "-q", W8A16, "-o", tmp_path / "net.dlc", "--preserve_io_datatype",
                   "--onnx_define_symbol", "N", 2, "--json")  # fmt: skip
    assert done.code == 0, done.err
    document = done.document
    assert document["scheme"] == "w8a16" and document["coverage"]["exact"] == 25
    assert {d["outcome"] for d in document["departures"]} == {"fused", "adjusted", "parameter"}
    rows = json.loads(Path(document["coverage_file"]).read_text())["rows"]
    assert {row["verdict"] for row in rows} <= {"exact", "inherited", "inserted"}
    info = program("qairt-dlc-info", "-i", tmp_path / "net.dlc", "--json").document
    first = info["graphs"][0]["operators"][0]["inputs"][0]
    assert first["dtype"] == "float32" and first["shape"][0] == 2


def test_dry_run_lists_operators_and_writes_nothing(tmp_path: Path) -> None:
    done = program("qairt-converter", "-i", NET, "-q", W8A8, "-o", tmp_path / "net.dlc", "--dry_run", "--json")
    assert done.code == 0 and [row["verdict"] for row in done.document["operators"]] == ["runs"] * 15
    assert done.document["scheme"] == "w8a8" and not list(tmp_path.iterdir())


def test_dry_run_says_which_operator_is_refused_and_why(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    nodes = [helper.make_node("Mod", ["x", "x"], ["m"], name="wrap", fmod=1), helper.make_node("Relu", ["m"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), tmp_path / "mod.onnx")
    done = program("qairt-converter", "-i", tmp_path / "mod.onnx", "--dry_run")
    assert "compute it outside the network" in done.out and "runs" in done.out
    done.assert_refused(3, "'wrap'", "Mod", "compute it outside the network")


def test_tensors_without_encodings_are_listed(tmp_path: Path) -> None:
    document = json.loads(W8A8.read_text())
    document["activation_encodings"] = document["activation_encodings"][:2]
    (tmp_path / "part.encodings").write_text(json.dumps(document))
    call = ("qairt-converter", "-i", NET, "-q", tmp_path / "part.encodings", "-o", tmp_path / "net.dlc")
    refused = program(*call)
    refused.assert_refused(2, "hexaquant quantize", "--float_fallback", "'/Add_output_0'")
    assert "no encoding: /fc2/Gemm_output_0" in refused.err and not (tmp_path / "net.dlc").exists()
    done = program(*call, "--float_fallback", "--json")
    assert done.code == 0, done.err
    assert {"tensor": "/Add_output_0", "outcome": "float"}.items() <= next(
        d for d in done.document["departures"] if d["tensor"] == "/Add_output_0"
    ).items()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--desired_input_layout", "inptu", "NHWC"], ["inptu"]),
        (["--desired_input_layout", "input", "NHCW"], ["NHCW", "unknown"]),
        (["--desired_input_layout", "input", "NFC"], ["4 dimensions", "NFC"]),
        (["--desired_input_layout", "input", "NONTRIVIAL"], ["NCHW", "NONTRIVIAL"]),
        (["--source_model_input_datatype", "input", "int32"], ["float32", "not int32"]),
        (["--out_tensor_node", "nowhere"], ["'nowhere'"]),
        (["--config=io.yaml"], ["io.yaml"]),
        (["--desired_input_color_encoding", "bgr"], ["--desired_input_color_encoding"]),
        (["--target_backend", "CPU"], ["CPU", "HTP"]),
        (["--target_soc_model", "sm1"], ["sm1"]),
        (["-s", "input", "1,3,x"], ["'x'", "positive whole number"]),
        (["-s", "inptu", "1,3,16,16"], ["inptu"]),
        (["--onnx_define_symbol", "N", "-1"], ["-1"]),
        (["--preserve_io_datatype", "inputs"], ["'inputs'"]),
        (["--export_format", "DLC_STRIP_QUANT"], ["DLC_STRIP_QUANT"]),
        (["-q", "none.json"], ["none.json"]),
        (["--nonsense"], ["--nonsense"]),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    program("qairt-converter", "-i", NET, "-o", tmp_path / "n.dlc", *arguments).assert_refused(2, *words)
    assert not list(tmp_path.iterdir())


def test_a_scale_altered_after_the_export_is_named(room: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(room / "deployed", tmp_path / "deployed")
    file = folder / "model.encodings"
    document = json.loads(file.read_text())
    entry = next(e for e in document["activation_encodings"] if e["name"] == "y")
    entry["scale"] = [entry["scale"][0] * 1.01]
    file.write_text(json.dumps(document))
    done = program("qairt-converter", "-i", folder / "model.onnx", "-q", file, "-o", tmp_path / "net.dlc")
    done.assert_refused(2, "altered after its export", "'y'", "model.qdq.onnx")
    assert "'x'" not in done.err and not (tmp_path / "net.dlc").exists()


@pytest.mark.parametrize("network", ["model.onnx", "model.qdq.onnx", "../net.onnx"])
def test_our_own_artifacts_convert_to_the_same_encodings(network: str, room: Path, tmp_path: Path) -> None:
    """The exported network, its QDQ form, and the network before quantization, with our encodings file."""
    folder = room / "deployed"
    file = [] if "qdq" in network else ["-q", folder / "model.encodings"]
    done = program("qairt-converter", "-i", folder / network, *file, "-o", tmp_path / "net.dlc", "--json")
    assert done.code == 0, done.err
    assert done.document["departures"] == []
    rows = json.loads((tmp_path / "net.dlc.coverage.json").read_text())["rows"]
    expected = json.loads((folder / "coverage.json").read_text())
    assert {(r["tensor"], r["asked"]) for r in rows} == {(r["tensor"], r["asked"]) for r in expected}
