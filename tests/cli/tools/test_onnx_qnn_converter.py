"""onnx-qnn-converter: generic ONNX to QNN, with given, calibrated and no encodings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cli.tiny import samples, save_listed
from cli.tools.programs import program
from hexaquant.api.convert import read_network
from hexaquant.htp.scheme import SCHEMES
from hexaquant.htp.soc import find_target
from hexaquant.sim.given_encodings import complete_encodings

AIMET = Path(__file__).parents[2] / "data" / "aimet"
NET, W8A8 = AIMET / "net_fp32.onnx", AIMET / "onnx_w8a8_1.0.0.encodings"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.onnx, 4 samples x<i>.raw and list.txt."""
    folder = tmp_path_factory.mktemp("tiny")
    save_listed(folder, "x:=")
    return folder


@pytest.fixture(scope="module")
def quantized(tiny: Path) -> tuple[Path, dict[str, Any]]:
    """tiny.onnx calibrated to w8a16 with one scale per channel, and the document that --json printed."""
    out = tiny / "calibrated"
    done = program("onnx-qnn-converter", "-i", tiny / "tiny.onnx", "-o", out, "--input_list", tiny / "list.txt",
                   "--act_bw", 16, "--use_per_channel_quantization", "--json")  # fmt: skip
    assert done.code == 0, done.err
    return out, done.document


def _tensors(folder: Path) -> dict[str, Any]:
    """Tensors of model_net.json by the name in the source network (the first of each)."""
    found: dict[str, Any] = {}
    for tensor in json.loads((folder / "model_net.json").read_text())["graph"]["tensors"].values():
        found.setdefault(tensor["src_name"], tensor)
    return found


def _coverage_rows(folder: Path) -> dict[str, str]:
    rows = json.loads((folder / "model.dlc.coverage.json").read_text())["rows"]
    return {row["tensor"]: row["has"] for row in rows}


def test_calibrated_network_has_every_encoding(quantized: tuple[Path, dict[str, Any]]) -> None:
    folder, document = quantized
    assert document["scheme"] == "w8a16" and document["recipe"] == "plain" and document["samples"] == 4
    assert {"x", "w", "v", "y"} <= set(document["calibrated"])
    assert set(document["coverage"]) <= {"exact", "inherited", "inserted", "absorbed"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {"model.dlc", "model_net.json", "qnn_saver/saver_output.c", "qnn_saver/params.bin"} <= set(manifest["files"])


def test_emulator_agrees_with_the_simulation(tiny: Path, tmp_path: Path) -> None:
    """Within 2 steps of 8 bits."""
    from hexaquant.api.calibrate_missing import calibrate_missing
    from hexaquant.ptq.steps.model_steps import Calibrate

    done = program("qnn-onnx-converter", "-i", tiny / "tiny.onnx", "-o", tmp_path, "--input_list", tiny / "list.txt",
                   "--act_quantizer", "min-max", "--use_per_channel_quantization")  # fmt: skip
    assert done.code == 0, done.err
    assert "recipe plain" in done.out and "exact" in done.out and "qnn-context-binary-generator" in done.out
    ran = program("qnn-net-run", "--dlc_path", tmp_path / "model.dlc", "--input_list", tiny / "list.txt",
                  "--output_dir", tmp_path / "out")  # fmt: skip
    assert ran.code == 0, ran.err
    network, x = read_network(tiny / "tiny.onnx"), samples(4)
    feeds = [{"x": sample[None]} for sample in x]
    ranges = Calibrate("min_max", "min_max")
    full = calibrate_missing(
        network, feeds, target=find_target("sm8650"), scheme=SCHEMES["w8a8"], ranges=ranges
    ).network
    model = complete_encodings(full.graph, full.given, find_target("sm8650")).model
    step = float(model.encodings()["y"].scale)
    for index, sample in enumerate(x):
        wanted = model(torch.from_numpy(sample[None])).detach().numpy().reshape(-1)
        found = np.fromfile(tmp_path / "out" / f"Result_{index}" / "y.raw", np.float32)
        assert np.abs(found - wanted).max() <= 2.01 * step
    assert _tensors(tmp_path)["y"]["quant_params"]["scale_offset"]["scale"] == pytest.approx(step)


def test_overrides_are_honoured_and_the_rest_is_calibrated(tmp_path: Path) -> None:
    """A sum loses its encoding: calibration gives it a new one; the pooling after it moves the data and follows."""
    document = json.loads(W8A8.read_text())
    lost = {entry["name"] for entry in document["activation_encodings"][2:] if "Add" in entry["name"]}
    kept = [entry for entry in document["activation_encodings"] if entry["name"] not in lost]
    (tmp_path / "part.encodings").write_text(json.dumps(document | {"activation_encodings": kept}))
    np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32).tofile(tmp_path / "x.raw")
    (tmp_path / "list.txt").write_text("x.raw\n")
    call = ("onnx-qnn-converter", "-i", NET, "--quantization_overrides")
    full = program(*call, W8A8, "-o", tmp_path / "full")
    part = program(*call, tmp_path / "part.encodings", "-o", tmp_path / "part", "--input_list", tmp_path / "list.txt",
                   "--json")  # fmt: skip
    assert full.code == 0 and part.code == 0, full.err + part.err
    assert lost and set(part.document["calibrated"]) == lost
    before, after = _coverage_rows(tmp_path / "full"), _coverage_rows(tmp_path / "part")
    moved = "/pool/MaxPool_output_0"
    assert moved not in {entry["name"] for entry in kept}
    assert {name for name in before if before[name] != after[name]} == lost | {moved}


def test_one_scale_a_weight_is_the_default(tiny: Path, tmp_path: Path, quantized: tuple[Path, dict[str, Any]]) -> None:
    done = program("onnx-qnn-converter", "-i", tiny / "tiny.onnx", "-o", tmp_path, "--input_list", tiny / "list.txt")
    assert done.code == 0 and "--use_per_channel_quantization" in done.err, done.err
    assert "scale_offset" in _tensors(tmp_path)["w"]["quant_params"]
    channels = _tensors(quantized[0])["w"]["quant_params"]["axis_scale_offset"]
    assert channels["num_scale_offsets"] == 6


def test_without_encodings_the_graph_is_float(tiny: Path, tmp_path: Path) -> None:
    done = program("onnx-qnn-converter", "-i", tiny / "tiny.onnx", "-o", tmp_path / "net.cpp", "--json")
    assert done.code == 0, done.err
    assert done.document["scheme"] == "fp16" and done.document["calibrated"] == []
    net = json.loads((tmp_path / "net_net.json").read_text())
    kinds = {tensor["data_type_name"] for tensor in net["graph"]["tensors"].values()}
    assert kinds & {"float16", "float32"} and not any("fixed8" in kind or kind == "uint8" for kind in kinds)
    assert "Conv2d" in net["op_types"] and done.document["source"] is not None


def test_source_and_parameters_belong_together(quantized: tuple[Path, dict[str, Any]]) -> None:
    """The program builds every node of the graph and reads exactly the bytes of params.bin."""
    folder, document = quantized
    source = Path(document["source"]).read_text()
    reads = re.findall(r"fread\(\w+, (\d+), (\d+), fp\)", source)
    assert sum(int(size) * int(count) for size, count in reads) == Path(document["parameters"]).stat().st_size > 0
    nodes = json.loads((folder / "model_net.json").read_text())["graph"]["nodes"]
    assert source.count("interface.graphAddNode(") == len(nodes) and "interface.graphFinalize(" in source


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    done = program("onnx-qnn-converter", "-i", NET, "-o", tmp_path / "out", "--dry_run", "--json")
    assert done.code == 0 and [row["verdict"] for row in done.document["operators"]] == ["runs"] * 15
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--keep_quant_nodes"], ["--keep_quant_nodes", "QDQ nodes become"]),
        (["--algorithms", "cle"], ["--algorithms", "not supported yet"]),
        (["--act_bw", "16"], ["--act_bw", "--input_list"]),
        (["--act_bw", "12", "--input_list", "l"], ["12"]),
        (["--weight_bw", "16", "--input_list", "l"], ["--act_bw 16"]),
        (["--weight_bw", "4", "--input_list", "l"], ["--use_per_channel_quantization"]),
        (["--bias_bw", "8", "--input_list", "l"], ["8"]),
        (["--float_fallback", "--input_list", "l"], ["contradict"]),
        (["--input_list", "none.txt"], ["none.txt"]),
        (["--input_dim", "input", "1,3,x"], ["--input_dim", "1,3,x"]),
        (["--nonsense"], ["--nonsense"]),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    program("onnx-qnn-converter", "-i", NET, "-o", tmp_path / "o", *arguments).assert_refused(2, *words)
    assert not list(tmp_path.iterdir())
