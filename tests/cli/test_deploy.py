"""deploy: the whole chain, its report, thresholds, and what a second run keeps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from cli.command import Result, hexaquant
from cli.tiny import samples, save_data, tiny_model

OUTPUT_KEYS = {
    "name",
    "fp32_vs_sim_sqnr_db",
    "sim_vs_target_sqnr_db",
    "fp32_vs_target_sqnr_db",
    "sim_vs_target_max_lsb",
    "top1_agreement_sim_target",
    "values",
    "all_zero_in_fp32",
    "all_zero_on_target",
}


def _deploy(room: Path, out: Path, *more: object) -> Result:
    return hexaquant("deploy", room / "net.onnx", "--data", room / "data.npz", "-o", out, *more)


def _stamps(out: Path) -> dict[str, int]:
    return {f.name: f.stat().st_mtime_ns for f in out.iterdir() if f.suffix in (".onnx", ".dlc", ".bin")}


def test_report_has_the_promised_keys(room: Path) -> None:
    report = json.loads((room / "deployed" / "verify.json").read_text())
    assert {"samples", "target", "scheme", "outputs", "metrics", "artifacts"} <= report.keys()
    assert set(report["metrics"]) == {"fp32", "sim", "target"}
    assert [set(output) for output in report["outputs"]] == [OUTPUT_KEYS]
    assert report["samples"] == 2 and report["target"] == "sm8650" and report["scheme"] == "w8a8"
    assert "held-out fifth" in report["data"] and report["random_data"] is False
    assert report["metrics"]["fp32"] == 1.0 and report["outputs"][0]["sim_vs_target_max_lsb"] <= 1
    for entry in report["artifacts"].values():
        assert Path(entry["path"]).stat().st_size == entry["bytes"]


def test_second_run_keeps_finished_steps(room: Path, deployed: Path) -> None:
    before = _stamps(deployed)
    again = _deploy(room, deployed)
    assert again.code == 0 and "kept" in again.err and "up to date" in again.err
    assert _stamps(deployed) == before
    assert "FP32" in again.out and "model.sm8650.bin" in again.out


def test_changed_input_or_force_makes_steps_again(room: Path, deployed: Path) -> None:
    before = _stamps(deployed)
    assert _deploy(room, deployed, "--scheme", "w8a16").code == 0
    changed = _stamps(deployed)
    assert all(changed[name] > before[name] for name in ("model.qdq.onnx", "model.dlc", "model.sm8650.bin"))
    assert "kept" not in _deploy(room, deployed, "--scheme", "w8a16", "--force").err
    assert all(_stamps(deployed)[name] > changed[name] for name in ("model.qdq.onnx", "model.sm8650.bin"))


def test_other_calibration_data_quantizes_again(room: Path, deployed: Path, tmp_path: Path) -> None:
    other = save_data(tmp_path / "other.npz", x=samples(10, seed=9))
    result = hexaquant("quantize", room / "net.onnx", "--data", other, "-o", deployed, "--json")
    assert result.document["reused"] is False


def test_damaged_artifact_is_made_again(room: Path, deployed: Path) -> None:
    (deployed / "model.sm8650.bin").write_bytes(b"damaged")
    result = _deploy(room, deployed, "--json")
    assert result.code == 0 and result.document["artifacts"]["binary"]["bytes"] > 1000


def test_json_is_one_document_and_equals_verify_json(room: Path, deployed: Path) -> None:
    result = _deploy(room, deployed, "--json")
    assert result.document == json.loads((deployed / "verify.json").read_text())


def test_threshold(room: Path, deployed: Path) -> None:
    assert _deploy(room, deployed, "--fail-below", "0.5").code == 0
    missed = _deploy(room, deployed, "--fail-below", "1.1", "--json")
    missed.assert_refused(1, "below the threshold of 1.1")
    assert missed.document["samples"] == 2, "the report is printed all the same"


def test_random_data_is_admitted_loudly(net: Path, tmp_path: Path) -> None:
    result = hexaquant("deploy", net, "--random-data", "-o", tmp_path / "out")
    assert result.code == 0, result.err
    assert "CALIBRATED ON RANDOM DATA" in result.err
    assert json.loads((tmp_path / "out" / "verify.json").read_text())["random_data"] is True
    real = save_data(tmp_path / "real.npz")
    again = hexaquant("verify", tmp_path / "out", "--data", real, "--json")
    assert again.document["random_data"] is True and "CALIBRATED ON RANDOM DATA" in again.err


def test_evaluation_data_and_limit(room: Path, deployed: Path, tmp_path: Path) -> None:
    evaluation = save_data(tmp_path / "eval.npz", x=samples(6, seed=4))
    result = hexaquant(
        "deploy", room / "net.onnx", "--data", room / "data.npz", "--eval-data", evaluation, "--limit", "4",
        "-o", tmp_path / "out", "--json", "--recipe", "plain", "--workers", "1",
    )  # fmt: skip
    assert result.document["samples"] == 4 and result.document["data"] == "eval.npz"


def test_module_and_metric_from_functions(tmp_path: Path) -> None:
    """The model, the data and the metric are the user's functions; what they print stays off stdout."""
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def build():\n"
        "    print('building')\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()), (torch.zeros(1, 3, 8, 8),)\n"
        "def data():\n"
        "    generator = torch.Generator().manual_seed(1)\n"
        "    return [(torch.randn(1, 3, 8, 8, generator=generator), torch.tensor([1.0])) for _ in range(5)]\n"
        "def brightness(outputs, label):\n"
        "    return float(next(iter(outputs.values())).mean() * label)\n"
    )
    file = tmp_path / "mine.py"
    result = hexaquant(
        "deploy", f"{file}:build", "--data", f"{file}:data", "--metric", f"{file}:brightness",
        "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.document["metric"] == "brightness" and result.document["metrics"]["target"] > 0
    assert "building" in result.err


def test_shape_option_fixes_dynamic_dimensions(tmp_path: Path) -> None:
    model = tiny_model()
    for axis, symbol in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = symbol
    onnx.save(model, tmp_path / "net.onnx")
    free = hexaquant("deploy", tmp_path / "net.onnx", "--random-data", "-o", tmp_path / "out")
    free.assert_refused(2, "'x'", "--shape")
    fixed = hexaquant(
        "quantize", tmp_path / "net.onnx", "--random-data", "--shape", "x=1,3,8,8", "-o", tmp_path / "out", "--json"
    )
    assert fixed.code == 0, fixed.err


def test_image_folder(net: Path, tmp_path: Path) -> None:
    from PIL import Image

    for index in range(5):
        pixels = np.random.default_rng(index).integers(0, 255, (12, 10, 3), np.uint8)
        (tmp_path / "photos" / f"{index % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index % 2}" / f"{index}.png")
    options = ["--image-size", "8", "--mean", "0.5,0.5,0.5", "--std", "0.25", "--color", "bgr"]
    result = hexaquant("deploy", net, "--data", tmp_path / "photos", *options, "-o", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    assert result.document["metrics"]["fp32"] is not None, "sub-folders are labels"
    bad = hexaquant("deploy", net, "--data", tmp_path / "photos", "--mean", "gray", "-o", tmp_path / "out")
    bad.assert_refused(2, "--mean gray")


@pytest.mark.parametrize("text, code", [("size: 8\nmean: 0.5\n", 0), ("sise: 8\n", 2), ("- 8\n", 2)])
def test_image_spec_file(text: str, code: int, tmp_path: Path, deployed: Path) -> None:
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.fromarray(np.full((9, 9, 3), 90, np.uint8)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "spec.yaml").write_text(text)
    result = hexaquant("verify", deployed, "--data", tmp_path / "photos", "--images", tmp_path / "spec.yaml")
    assert result.code == code, result.err
