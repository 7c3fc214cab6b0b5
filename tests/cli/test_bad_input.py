"""Every kind of bad input ends in one sentence, the right exit code, and nothing half-written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from cli.command import Result, hexaquant
from cli.tiny import samples, save_data, tiny_model


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def deploy(net: object, data: object, out: Path, *more: object) -> Result:
    return hexaquant("deploy", net, "--data", data, "-o", out, *more)


def nothing_in(out: Path) -> bool:
    return not out.exists() or not any(file.is_file() for file in out.rglob("*"))


def test_missing_model(data: Path, out: Path) -> None:
    deploy("nowhere.onnx", data, out).assert_refused(2, "nowhere.onnx", "there is no such file")
    assert nothing_in(out)


def test_not_an_onnx_file(data: Path, tmp_path: Path, out: Path) -> None:
    for content in (b"", b"this is text", bytes(range(256)) * 4):
        (tmp_path / "fake.onnx").write_bytes(content)
        deploy(tmp_path / "fake.onnx", data, out).assert_refused(2, "fake.onnx")
    deploy(tmp_path / "net.docx", data, out).assert_refused(2, "net.docx", ".onnx")
    assert nothing_in(out)


def test_truncated_onnx_file(net: Path, data: Path, tmp_path: Path, out: Path) -> None:
    (tmp_path / "half.onnx").write_bytes(net.read_bytes()[:400])
    deploy(tmp_path / "half.onnx", data, out).assert_refused(2, "half.onnx")
    assert nothing_in(out)


@pytest.mark.parametrize("keep, words", [(100, ["net.data", "truncated"]), (None, ["net.data", "missing"])])
def test_truncated_or_missing_external_data(
    keep: int | None, words: list[str], data: Path, tmp_path: Path, out: Path
) -> None:
    external = {"save_as_external_data": True, "location": "net.data", "size_threshold": 0}
    onnx.save(tiny_model(), tmp_path / "net.onnx", **external)
    file = tmp_path / "net.data"
    if keep is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:keep])
    deploy(tmp_path / "net.onnx", data, out).assert_refused(2, *words)
    assert nothing_in(out)


def test_unknown_operator(data: Path, tmp_path: Path, out: Path) -> None:
    model = tiny_model()
    model.graph.node[1].op_type, model.graph.node[1].name = "Frobnicate", "middle"
    onnx.save(model, tmp_path / "net.onnx")
    deploy(tmp_path / "net.onnx", data, out).assert_refused(3, "Frobnicate", "middle")
    assert nothing_in(out)


@pytest.mark.parametrize(
    "shape, words",
    [
        ("z=1,3,8,8", ["no input 'z'", "x"]),
        ("x=1,3,8", ["'x'", "4 dimensions"]),
        ("x=1,3,0,8", ["'x'", "below 1"]),
        ("x", ["NAME=1,3,320,320"]),
        ("x=1,3,eight!,8", ["eight!"]),
    ],
)
def test_wrong_shape_option(shape: str, words: list[str], net: Path, data: Path, out: Path) -> None:
    deploy(net, data, out, "--shape", shape).assert_refused(2, *words)
    assert nothing_in(out)


@pytest.mark.parametrize(
    "array, words",
    [
        (samples(10)[:, :, :7], ["'x'", "10x3x7x8", "reshape"]),
        (samples(10).astype(np.uint8), ["'x'", "uint8", "float32"]),
        (samples(0), ["empty"]),
        (np.full((10, 3, 8, 8), np.nan, np.float32), ["'x'", "NaN"]),
    ],
    ids=["shape", "dtype", "empty", "NaN"],
)
def test_wrong_calibration_data(array: np.ndarray, words: list[str], net: Path, tmp_path: Path, out: Path) -> None:
    deploy(net, save_data(tmp_path / "bad.npz", x=array), out).assert_refused(2, *words)
    assert nothing_in(out)


def test_wrong_input_name_in_data(net: Path, tmp_path: Path, out: Path) -> None:
    np.savez(tmp_path / "bad.npz", image=samples(4))
    deploy(net, tmp_path / "bad.npz", out).assert_refused(2, "'image'", "x")


def test_damaged_or_missing_data_file(net: Path, tmp_path: Path, out: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not a zip")
    deploy(net, tmp_path / "bad.npz", out).assert_refused(2, "bad.npz")
    deploy(net, tmp_path / "none.npz", out).assert_refused(2, "none.npz")
    assert nothing_in(out)


def test_no_calibration_data(net: Path, out: Path) -> None:
    hexaquant("deploy", net, "-o", out).assert_refused(2, "--data", "--random-data")
    assert nothing_in(out)


def test_nan_in_weights(data: Path, tmp_path: Path, out: Path) -> None:
    model = tiny_model()
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[0, 0, 0, 0] = np.nan
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(model, tmp_path / "net.onnx")
    deploy(tmp_path / "net.onnx", data, out).assert_refused(2, "'w'", "NaN")
    assert nothing_in(out)


def test_zero_size_dimension(data: Path, tmp_path: Path, out: Path) -> None:
    model = tiny_model()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 0
    onnx.save(model, tmp_path / "net.onnx")
    deploy(tmp_path / "net.onnx", data, out).assert_refused(2, "'x'", "size 0", "--shape")
    assert nothing_in(out)


@pytest.mark.parametrize(
    "options, words",
    [
        (["--encodings-version", "9.9"], ["9.9", "0.6.1, 1.0.0, 2.0.0"]),
        (["--target", "sm9999"], ["sm9999"]),
        (["--scheme", "w3a3"], ["w3a3", "w8a8"]),
        (["--recipe", "slow"], ["slow", "fast"]),
        (["--metric", "nonsense"], ["nonsense", "top1"]),
        (["--overrides", "none.yaml"], ["none.yaml"]),
    ],
)
def test_unknown_names(options: list[str], words: list[str], net: Path, data: Path, out: Path) -> None:
    deploy(net, data, out, *options).assert_refused(2, *words)
    assert nothing_in(out)


def test_scheme_that_the_target_refuses(net: Path, data: Path, out: Path) -> None:
    deploy(net, data, out, "--scheme", "w16a16", "--target", "sm8350").assert_refused(3, "sm8350", "w8a16")
    assert nothing_in(out)


def test_unknown_version_of_an_encodings_file(deployed: Path) -> None:
    file = deployed / "model.encodings"
    file.write_text(file.read_text().replace('"version": "1.0.0"', '"version": "7.0.0"', 1))
    hexaquant("info", file).assert_refused(2, "7.0.0", "2.0.0")


def test_truncated_json(deployed: Path) -> None:
    for name, command in (
        ("model.encodings", ["info", deployed / "model.encodings"]),
        ("manifest.json", ["info", deployed]),
    ):
        file = deployed / name
        file.write_text(file.read_text()[:200])
        hexaquant(*command).assert_refused(2, name)


def test_encodings_of_another_model(deployed: Path, tmp_path: Path) -> None:
    other = tiny_model()
    for node in other.graph.node:
        node.input[:] = [f"other_{name}" for name in node.input]
        node.output[:] = [f"other_{name}" for name in node.output]
    for value in (*other.graph.input, *other.graph.output, *other.graph.initializer):
        value.name = f"other_{value.name}"
    onnx.save(other, tmp_path / "other.onnx")
    file = deployed / "model.encodings"
    assert hexaquant("info", file, "--model", deployed / "model.onnx").code == 0
    hexaquant("info", file, "--model", tmp_path / "other.onnx").assert_refused(
        2, "model.encodings", "'x'", "other.onnx"
    )


def test_model_of_another_network_in_the_folder(deployed: Path, data: Path) -> None:
    onnx.save(tiny_model(seed=5), deployed / "model.onnx")
    hexaquant("verify", deployed, "--data", data).assert_refused(2, "model.onnx", "changed")


def test_flipped_bytes_in_a_context_binary(deployed: Path, data: Path, tmp_path: Path) -> None:
    binary = deployed / "model.sm8650.bin"
    content = bytearray(binary.read_bytes())
    content[len(content) // 2] ^= 0xFF
    binary.write_bytes(content)
    np.save(tmp_path / "x.npy", samples(1))
    hexaquant("verify", deployed, "--data", data).assert_refused(2, "model.sm8650.bin", "SHA-256")
    run = hexaquant("run", deployed, "--input", f"x={tmp_path / 'x.npy'}", "-o", tmp_path / "results")
    run.assert_refused(2, "model.sm8650.bin", "SHA-256")
    hexaquant("info", binary).assert_refused(2, "SHA-256")
    assert nothing_in(tmp_path / "results")


def test_not_a_context_binary(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"\0" * 4096)
    np.save(tmp_path / "x.npy", samples(1))
    run = hexaquant("run", tmp_path / "model.bin", "--input", f"x={tmp_path / 'x.npy'}", "-o", tmp_path / "results")
    run.assert_refused(2, "model.bin")
    assert nothing_in(tmp_path / "results")


def test_context_binary_of_another_soc(deployed: Path, data: Path) -> None:
    """A binary for sm8550 under the name of the one for sm8650, and its hash in the manifest."""
    assert hexaquant("compile", deployed, "--target", "sm8550").code == 0
    shutil.copyfile(deployed / "model.sm8550.bin", deployed / "model.sm8650.bin")
    manifest = json.loads((deployed / "manifest.json").read_text())
    manifest["files"]["model.sm8650.bin"] = manifest["files"]["model.sm8550.bin"]
    (deployed / "manifest.json").write_text(json.dumps(manifest))
    hexaquant("verify", deployed, "--data", data).assert_refused(2, "model.sm8650.bin", "SoC")
    run = ["run", deployed / "model.sm8550.bin", "--target", "sm8650", "--input", "x=x.npy", "-o", deployed / "results"]
    hexaquant(*run).assert_refused(2, "model.sm8550.bin", "SoC")


def test_binary_of_an_earlier_quantization(deployed: Path, net: Path, data: Path) -> None:
    assert hexaquant("quantize", net, "--data", data, "--scheme", "w8a16", "-o", deployed).code == 0
    hexaquant("verify", deployed, "--data", data).assert_refused(2, "earlier", "hexaquant compile")


def test_folder_that_is_no_artifact_folder(tmp_path: Path, data: Path) -> None:
    for command in (
        ["verify", tmp_path, "--data", data],
        ["compile", tmp_path],
        ["export", tmp_path],
        ["info", tmp_path],
    ):
        hexaquant(*command).assert_refused(2, "manifest.json")


def test_unwritable_folder(net: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    deploy(net, data, tmp_path / "file" / "out").assert_refused(2, "file")


def test_model_functions_that_fail(tmp_path: Path, data: Path, out: Path) -> None:
    (tmp_path / "models.py").write_text("def broken():\n    raise KeyError('weights')\ndef alone():\n    return 3\n")
    deploy(f"{tmp_path / 'models.py'}:broken", data, out).assert_refused(2, "KeyError", "weights")
    deploy(f"{tmp_path / 'models.py'}:alone", data, out).assert_refused(2, "int")
    deploy(f"{tmp_path / 'models.py'}:missing", data, out).assert_refused(2, "no 'missing'")
    deploy(f"{tmp_path / 'none.py'}:f", data, out).assert_refused(2, "none.py")
    assert nothing_in(out)
