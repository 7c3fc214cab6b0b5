"""qairt-dlc-info, help and versions of every program, hexaquant info --coverage."""

from __future__ import annotations

import csv
import shutil
import tomllib
from pathlib import Path

import pytest

from cli.command import hexaquant
from cli.tools.programs import PROGRAMS, program
from hexaquant.api.convert import convert, read_network
from hexaquant.cli.tools.layers import macs_of
from hexaquant.qnn.records import OpInfo, TensorInfo


def test_dlc_info_counts_parameters_and_macs(dlc: Path, tmp_path: Path) -> None:
    done = program("qairt-dlc-info", "-i", dlc, "--json", "-s", tmp_path / "layers.csv")
    assert done.code == 0, done.err
    (graph,) = done.document["graphs"]
    assert graph["parameters"] == 6 * 3 * 9 + 6 + 4 * 6 + 4
    assert graph["macs"] == 8 * 8 * 6 * 3 * 9 + 4 * 6
    conv = next(op for op in graph["operators"] if op["type"] == "Conv2d")
    assert (conv["parameters"], conv["outputs"][0]["dtype"]) == (6 * 3 * 9 + 6, "ufixed8")
    assert conv["outputs"][0]["quant"]["scales"]
    rows = list(csv.DictReader((tmp_path / "layers.csv").open()))
    assert [row["type"] for row in rows] == [op["type"] for op in graph["operators"]]
    assert "scale" in rows[0]["outputs"]
    assert "10,392 MACs" in program("qairt-dlc-info", "-i", dlc).out


@pytest.mark.parametrize(
    "kind, first, second, out, params, macs",
    [
        ("DepthWiseConv2d", (1, 8, 8, 6), (3, 3, 1, 6), (1, 8, 8, 6), {}, 8 * 8 * 6 * 9),
        ("TransposeConv2d", (1, 4, 4, 6), (2, 2, 6, 5), (1, 8, 8, 5), {}, 4 * 4 * 6 * 2 * 2 * 5),
        ("MatMul", (2, 3, 7), (2, 7, 5), (2, 3, 5), {"transpose_in0": 0}, 2 * 3 * 5 * 7),
        ("MatMul", (2, 7, 3), (2, 7, 5), (2, 3, 5), {"transpose_in0": 1}, 2 * 3 * 5 * 7),
        ("ElementWiseAdd", (2, 3), (2, 3), (2, 3), {}, None),
    ],
)
def test_macs(kind: str, first: tuple, second: tuple, out: tuple, params: dict, macs: int | None) -> None:
    tensors = {n: TensorInfo(n, "float32", s, "native") for n, s in (("a", first), ("b", second), ("c", out))}
    assert macs_of(OpInfo("op", kind, ("a", "b"), ("c",), params), tensors) == macs


def test_dlc_info_refuses(tmp_path: Path, dlc: Path) -> None:
    program("qairt-dlc-info", "-i", "none.dlc").assert_refused(2, "none.dlc")
    program("qairt-dlc-info", "-i", dlc, "-m").assert_refused(2, "-m", "not supported")
    (tmp_path / "text.dlc").write_text("no DLC")
    program("qairt-dlc-info", "-i", tmp_path / "text.dlc").assert_refused(2, "text.dlc")
    program("qnn-context-binary-utility", "--context_binary", tmp_path / "text.dlc", "--json_file",
            tmp_path / "o.json").assert_refused(2, "text.dlc")  # fmt: skip
    assert not (tmp_path / "o.json").exists()


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_and_version(name: str) -> None:
    text = program(name, "--help")
    assert text.code == 0 and text.err == ""
    assert f"Example:\n  {name} " in text.out and "Exit codes" in text.out
    assert program(name, "--version").out.startswith(f"{name} of hexaquant ")
    assert program(name).code == 2


def test_pip_installs_every_program() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    for name, function in PROGRAMS.items():
        assert project["scripts"][name] == f"{function.__module__}:{function.__name__}"


def test_info_coverage(deployed: Path) -> None:
    done = hexaquant("info", deployed, "--coverage", "--json")
    assert done.code == 0, done.err
    assert done.document["complete"] and done.document["counts"]["exact"] == 9
    assert sum(done.document["counts"].values()) == len(done.document["tensors"])
    text = hexaquant("info", deployed, "--coverage", "--limit", 2).out
    assert "to the last bit" in text and "first 2 of" in text
    (deployed / "coverage.json").write_text("[]")
    hexaquant("info", deployed, "--coverage").assert_refused(2, "coverage.json", "changed")
    hexaquant("info", deployed / "model.onnx", "--coverage").assert_refused(2, "model.onnx", "folder")


def test_info_coverage_of_a_converted_dlc(deployed: Path, tmp_path: Path) -> None:
    network = read_network(deployed / "model.onnx", deployed / "model.encodings")
    convert(network, tmp_path / "net.dlc")
    done = hexaquant("info", tmp_path / "net.dlc", "--coverage", "--json")
    assert done.code == 0, done.err
    assert done.document["complete"] and done.document["target"] == "sm8650"
    assert done.document["counts"] == hexaquant("info", deployed, "--coverage", "--json").document["counts"]
    lone = Path(shutil.copy(tmp_path / "net.dlc", tmp_path / "lone.dlc"))
    hexaquant("info", lone, "--coverage").assert_refused(2, "lone.dlc.coverage.json")
