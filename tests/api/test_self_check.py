"""Every compile checks itself: a fault of the target that is not mended stops it, with the layer's name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hexaquant as hq
from cli.tools.programs import program
from hexaquant.analysis.self_check import Expected, check_file, keep_expected, kept_expected
from hexaquant.api.compile import compile_folder
from hexaquant.api.convert import convert, read_network
from hexaquant.core.errors import TargetError
from hexaquant.folder.artifacts import DLC, export_model
from hexaquant.folder.manifest import sha256_of
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from ir.onnx_text import graph, random
from sim.nets import quantized

TEXT = """(float[1,8,9,9] x) => (float[1,4,1,1] y) {
 c = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (x, w, b)
 r = Relu (c)
 s = Slice (r, starts, ends, axes)
 p = AveragePool <kernel_shape=[2,2], strides=[2,2]> (s)
 k = Conv <kernel_shape=[4,4]> (p, v)
 y = Tanh (k)
}"""
CONSTANTS = {
    "w": random(8, 8, 3, 3, seed=1) * 0.2,
    "b": random(8, seed=2),
    "v": random(4, 8, 4, 4, seed=3) * 0.1,
    "starts": np.array([1, 0]),
    "ends": np.array([9, -1]),
    "axes": np.array([2, 3]),
}


def samples(count: int = 8) -> list[dict[str, np.ndarray]]:
    return [{"x": random(1, 8, 9, 9, seed=seed)} for seed in range(count)]


def network() -> Graph:
    return normalize(graph(TEXT, **CONSTANTS))


def unmended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target as it is: what lowering mends otherwise reaches it."""
    monkeypatch.setattr("hexaquant.qnn.lower.mend_or_refuse", lambda *_: {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export_model(quantized(network(), "w8a8", data=samples()), tmp_path)
    return tmp_path


def test_a_good_network_passes_and_what_was_expected_is_kept(folder: Path) -> None:
    made = compile_folder(folder)
    assert made.binaries["sm8650"].is_file()
    assert (folder / f"{DLC}.check.npz").is_file()


def test_a_binary_made_again_with_other_options_is_checked(folder: Path) -> None:
    first = compile_folder(folder).binaries["sm8650"].read_bytes()
    again = compile_folder(folder, o_level=1).binaries["sm8650"]
    assert again.read_bytes() != first


def test_a_fault_of_the_target_stops_compile_with_the_layer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unmended(monkeypatch)
    with pytest.raises(TargetError, match=r"computes something else.*AveragePool.*--no-check"):
        compile_folder(folder)
    assert not list(folder.glob("*.bin"))
    assert compile_folder(folder, check=False).binaries["sm8650"].is_file()


def test_the_samples_of_calibration_are_what_is_run(tmp_path: Path) -> None:
    model = hq.quantize(network(), samples(), recipe="plain")
    model.export(tmp_path)
    compile_folder(tmp_path)
    with np.load(tmp_path / f"{DLC}.check.npz") as kept:
        np.testing.assert_array_equal(kept["input 0 x"], samples()[0]["x"])
        assert not json.loads(str(kept["about"]))["noise"]


def test_a_converter_writes_no_dlc_that_computes_something_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unmended(monkeypatch)
    given = read_network(folder / "model.qdq.onnx")
    with pytest.raises(TargetError, match="AveragePool"):
        convert(given, folder / "net.dlc")
    assert not (folder / "net.dlc").exists()
    convert(given, folder / "net.dlc", check=False)
    assert not (folder / "net.dlc.check.npz").exists()


def test_a_binary_of_a_converted_dlc_is_held_against_what_its_converter_expects(folder: Path) -> None:
    dlc = folder / "net.dlc"
    convert(read_network(folder / "model.qdq.onnx"), dlc)
    arguments = ["--dlc_path", str(dlc), "--binary_file", "net", "--output_dir", str(folder / "out")]
    assert program("qnn-context-binary-generator", *arguments).code == 0
    expected = kept_expected(dlc, sha256_of(dlc))
    assert expected is not None
    wrong = tuple({name: array[..., ::-1] + 1 for name, array in sample.items()} for sample in expected.outputs)
    keep_expected(check_file(dlc), replace(expected, outputs=wrong))
    program("qnn-context-binary-generator", *arguments).assert_refused(3, "computes something else", "--no-check")
    assert program("qnn-context-binary-generator", *arguments, "--no_check").code == 0


def test_deploy_says_which_layer_the_target_computes_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unmended(monkeypatch)
    with pytest.raises(TargetError, match=r"computes something else.*AveragePool"):
        hq.deploy(network(), samples(), tmp_path, recipe="plain", report=False)
    assert (tmp_path / "verify.json").is_file()


def test_ids_and_what_is_not_finite_are_not_judged() -> None:
    sample = {"ids": np.array([1, 2]), "y": np.array([1.0, np.inf], np.float32)}
    expected = Expected(({},), (sample,), {}, 15.0, noise=False)
    assert expected.departures([{"ids": np.array([2, 1]), "y": np.array([0.0, 0.0])}]) == {}


def test_an_error_within_a_step_is_rounding() -> None:
    sample = {"y": np.array([0.1, -0.1, 0.0], np.float32)}
    expected = Expected(({},), (sample,), {"y": 0.1}, 15.0, noise=False)
    assert expected.departures([{"y": np.array([0.1, -0.1, 0.1])}]) == {}
    assert expected.departures([{"y": np.array([0.4, 0.4, 0.4])}]) == {"y": pytest.approx(-13.98, abs=0.01)}
