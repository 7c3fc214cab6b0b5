"""quantize, export, compile, run, verify, info, doctor: each alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli.command import hexaquant
from cli.tiny import samples
from hexaquant.io.encodings_file import read_encodings


def test_quantize_writes_and_counts(net: Path, data: Path, tmp_path: Path) -> None:
    result = hexaquant("quantize", net, "--data", data, "--scheme", "w4a16", "-o", tmp_path / "out", "--json")
    document = result.document
    counts = {(t["role"], t["grid"]): t["count"] for t in document["tensors"]}
    assert counts["input", "16 bits"] == 1
    assert sum(n for (role, grid), n in counts.items() if role == "weight" and grid.startswith("4 bits")) == 2
    assert not (tmp_path / "out" / "model.dlc").exists()
    assert all(Path(entry["path"]).is_file() for entry in document["files"].values())


@pytest.mark.parametrize("version", ["0.6.1", "2.0.0"])
def test_export_in_another_version(version: str, deployed: Path, tmp_path: Path) -> None:
    before = read_encodings(deployed / "model.encodings")
    result = hexaquant("export", deployed, "--encodings-version", version, "-o", tmp_path / "x.encodings", "--json")
    assert result.document["version"] == version and result.document["file"] == str(tmp_path / "x.encodings")
    again = read_encodings(tmp_path / "x.encodings")
    assert again.version == version
    assert float(again.all["x"].step) == float(before.all["x"].step)
    if version == "0.6.1":
        assert any("int32 bias" in lost for lost in result.document["lost"]) and "warning: 'b'" in result.err


def test_export_into_the_folder_keeps_it_intact(room: Path, deployed: Path) -> None:
    assert hexaquant("export", deployed, "--encodings-version", "2.0.0").code == 0
    files = hexaquant("info", deployed, "--json").document["files"]
    assert all(entry["intact"] for entry in files.values())
    again = hexaquant(
        "quantize",
        room / "net.onnx",
        "--data",
        room / "data.npz",
        "-o",
        deployed,
        "--encodings-version",
        "1.0.0",
        "--json",
    )
    assert read_encodings(deployed / "model.encodings").version == "1.0.0"
    assert again.code == 0


def test_compile_for_two_targets(deployed: Path) -> None:
    result = hexaquant("compile", deployed, "--target", "sm8550", "--target", "v75", "--json")
    binaries = result.document["binaries"]
    assert set(binaries) == {"sm8550", "sm8650"}
    for soc, entry in binaries.items():
        assert hexaquant("info", entry["path"], "--json").document["target"] == soc


def test_run_writes_what_the_target_computed(deployed: Path, tmp_path: Path) -> None:
    """Floats as .npy, as .raw and through an input list agree; native integers are their quantized form."""
    x = samples(3)
    np.save(tmp_path / "x.npy", x)
    lines = []
    for index, sample in enumerate(x):
        sample.tofile(tmp_path / f"{index}.raw")
        lines.append(f"x:={tmp_path / f'{index}.raw'}")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    given = ["--input", f"x={tmp_path / 'x.npy'}"]
    result = hexaquant("run", deployed, *given, "--format", "npy", "-o", tmp_path / "a", "--json")
    assert result.document["inferences"] == 3 and result.document["outputs"][0]["shape"] == [1, 4]
    binary = deployed / "model.sm8650.bin"
    np.savez(tmp_path / "x.npz", x=x)
    zipped = hexaquant("run", deployed, "--input", f"x={tmp_path / 'x.npz'}", "--format", "npy", "-o", tmp_path / "z")
    assert zipped.code == 0
    assert hexaquant("run", binary, "--input-list", tmp_path / "list.txt", "-o", tmp_path / "b").code == 0
    for index in range(3):
        expected = np.load(tmp_path / "a" / f"Result_{index}" / "y.npy")
        assert expected.dtype == np.float32
        np.testing.assert_array_equal(np.load(tmp_path / "z" / f"Result_{index}" / "y.npy"), expected)
        raw = np.fromfile(tmp_path / "b" / f"Result_{index}" / "y.raw", np.float32)
        np.testing.assert_array_equal(raw, expected.ravel())
    encoding = read_encodings(deployed / "model.encodings").all["x"]
    scale, offset = float(encoding.step), float(encoding.offset)
    np.save(tmp_path / "q.npy", np.clip(np.rint(x[:1] / np.float32(scale)) - offset, 0, 255).astype(np.uint8))
    native = hexaquant("run", binary, "--input", f"x={tmp_path / 'q.npy'}", "--native", "-o", tmp_path / "c", "--json")
    assert native.document["outputs"][0]["dtype"] == "uint8"
    out = read_encodings(deployed / "model.encodings").all["y"]
    stored = np.fromfile(tmp_path / "c" / "Result_0" / "y.raw", np.uint8).astype(np.float32)
    values = (stored + float(out.offset)) * float(out.step)
    np.testing.assert_allclose(values, np.load(tmp_path / "a" / "Result_0" / "y.npy").ravel(), rtol=1e-5)


def test_run_refuses_wrong_inputs(deployed: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", samples(1)[:, :2])
    out = tmp_path / "results"
    hexaquant("run", deployed, "--input", f"x={tmp_path / 'x.npy'}", "-o", out).assert_refused(2, "'x'", "1x2x8x8")
    hexaquant("run", deployed, "--input", f"z={tmp_path / 'x.npy'}", "-o", out).assert_refused(2, "'z'", "x")
    np.savez(tmp_path / "x.npz", w=samples(1))
    hexaquant("run", deployed, "--input", f"x={tmp_path / 'x.npz'}", "-o", out).assert_refused(2, "no array 'x' but w")
    hexaquant("run", deployed, "--input", "x=none.npy", "-o", out).assert_refused(2, "none.npy")
    hexaquant("run", deployed, "--input", "x", "-o", out).assert_refused(2, "NAME=FILE.npy")
    assert not out.exists()


def test_verify_again_runs_nothing_on_the_target(room: Path, deployed: Path) -> None:
    first = hexaquant("verify", deployed, "--data", room / "data.npz", "--json")
    known = {f.name: f.stat().st_mtime_ns for f in (deployed / ".state" / "target").rglob("*.outputs")}
    assert len(known) == 10
    second = hexaquant("verify", deployed, "--data", room / "data.npz", "--json")
    assert second.document == first.document
    assert {f.name: f.stat().st_mtime_ns for f in (deployed / ".state" / "target").rglob("*.outputs")} == known


def test_info_of_everything(deployed: Path) -> None:
    folder = hexaquant("info", deployed, "--json").document
    assert folder["target"] == "sm8650" and folder["verify"]["samples"] == 2
    model = hexaquant("info", deployed / "model.onnx", "--json").document
    assert model["inputs"][0]["name"] == "x" and model["operators"]["Conv"] == 1
    encodings = hexaquant("info", deployed / "model.encodings", "--json").document
    assert encodings["version"] == "1.0.0" and {"x", "w", "y"} <= {e["name"] for e in encodings["encodings"]}
    dlc = hexaquant("info", deployed / "model.dlc", "--json").document
    assert [t["name"] for t in dlc["graphs"][0]["inputs"]] == ["x"] and dlc["graphs"][0]["ops"]
    binary = hexaquant("info", deployed / "model.sm8650.bin", "--json").document
    assert binary["target"] == "sm8650" and binary["sha256_checked"] is True


@pytest.mark.parametrize("name", ["", "model.onnx", "model.encodings", "model.dlc", "model.sm8650.bin"])
def test_info_tables(name: str, room: Path) -> None:
    result = hexaquant("info", room / "deployed" / name, "--limit", "2")
    assert result.code == 0 and "┃" in result.out and result.err == ""


def test_info_shows_a_changed_file(deployed: Path) -> None:
    with (deployed / "model.dlc").open("ab") as file:
        file.write(b"\0")
    assert hexaquant("info", deployed, "--json").document["files"]["model.dlc"]["intact"] is False
    assert "CHANGED" in hexaquant("info", deployed).out


def test_doctor_proves_the_chain() -> None:
    result = hexaquant("doctor", "--json")
    assert result.code == 0, result.err
    checks = {check["name"]: check for check in result.document["checks"]}
    assert result.document["ok"] and all(check["ok"] for check in checks.values())
    assert "LSB" in checks["self-test: execute on the emulator"]["detail"]
    assert checks["onnxruntime-qnn"]["detail"] == "2.7.0"


def test_doctor_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hexaquant.qnn.libraries.KNOWN_RELEASES", {"1.0.0": None})
    result = hexaquant("doctor", "--json")
    result.assert_refused(4, "pip install onnxruntime-qnn==1.0.0")
    lacking = [check for check in result.document["checks"] if not check["ok"]]
    assert [check["name"] for check in lacking] == ["Qualcomm's libraries"]
    assert json.dumps(lacking)
