"""``hexaquant qat``: a deployed folder is trained without labels, exported, compiled and verified again."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from cli.command import hexaquant
from cli.tiny import samples, save_data
from hexaquant.cli.progress import bars
from hexaquant.core.events import Event


def test_training_a_folder_improves_it_and_what_comes_after_agrees(net: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "out", tmp_path / "train.npz"
    save_data(data, x=samples(320))
    start = ("quantize", net, "--data", data, "--scheme", "w4a8", "--recipe", "plain", "-o", out)
    assert hexaquant(*start).code == 0
    before = (out / "model.encodings").read_bytes()
    result = hexaquant("qat", out, "--data", data, "--epochs", "8", "--json")
    document = result.document
    assert result.code == 0 and document["steps"] == 64
    assert document["sqnr_after"] > document["sqnr_before"] + 0.5
    assert (out / "model.encodings").read_bytes() != before
    assert not (out / ".state" / "qat.safetensors").exists()
    recorded = json.loads((out / "manifest.json").read_text())["sections"]["quantization"]["steps"]
    assert [step["step"] for step in recorded][-1] == "finetune" and recorded[0]["step"] == "calibrate"
    assert all(entry["intact"] for entry in hexaquant("info", out, "--json").document["files"].values())
    assert hexaquant("qat", out, "--data", data, "--steps", "2").code == 0
    again = hexaquant(*start)
    assert "quantized anew" in again.err and (out / "model.encodings").read_bytes() == before
    assert "quantized anew" not in hexaquant(*start, "--force").err


def test_the_same_command_again_keeps_what_it_trained(net: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "out", tmp_path / "train.npz"
    save_data(data, x=samples(40))
    assert hexaquant("quantize", net, "--data", data, "--scheme", "w4a8", "--recipe", "plain", "-o", out).code == 0
    train = ("qat", out, "--data", data, "--steps", "3", "--json")
    first, trained = hexaquant(*train).document, (out / "model.encodings").read_bytes()
    second = hexaquant(*train, "--log-dir", tmp_path / "logs")
    assert "--again" in second.err and second.document["reused"] and not first["reused"]
    assert {**second.document, "files": 0, "reused": 0} == {**first, "files": 0, "reused": 0}
    assert (out / "model.encodings").read_bytes() == trained
    for other in (("--again",), ("--seed", "1"), ("--lr", "0.002")):
        result = hexaquant(*train, *other)
        assert not result.document["reused"]
        assert result.document["sqnr_before"] != first["sqnr_before"], "it goes on from the trained network"


def test_a_stale_binary_is_not_verified(deployed: Path, data: Path) -> None:
    assert hexaquant("qat", deployed, "--data", data, "--steps", "2").code == 0
    hexaquant("verify", deployed, "--data", data).assert_refused(2, "hexaquant compile")
    assert hexaquant("compile", deployed).code == 0
    assert hexaquant("verify", deployed, "--data", data).code == 0


def test_bad_input_is_refused(deployed: Path, data: Path, tmp_path: Path) -> None:
    hexaquant("qat", tmp_path, "--data", data).assert_refused(2, "not an artifact folder")
    hexaquant("qat", deployed, "--data", data, "--loss", "l7").assert_refused(2, "kl")
    (deployed / ".state" / "fp32.onnx").unlink()
    hexaquant("qat", deployed, "--data", data).assert_refused(2, "fp32.onnx")


def test_from_a_network_s_file_alone(net: Path, tmp_path: Path) -> None:
    out, data, logs = tmp_path / "out", tmp_path / "train.npz", tmp_path / "logs"
    save_data(data, x=samples(160))
    choice = ("--scheme", "w4a8", "--recipe", "plain", "--mode", "pact", "--feature", "r", "--ema", "0.9")
    more = ("--validate-every", "4", "--patience", "9", "--dampening", "0.01", "--freeze-oscillations", "0.01")
    train = ("qat", net, "--data", data, "-o", out, "--epochs", "3", "--log-dir", logs, *choice, *more)
    result = hexaquant(*train, "--json")
    document = result.document
    assert result.code == 0 and document["steps"] == 12 and document["best_step"] in (4, 8, 12)
    assert document["sqnr_after"] > document["sqnr_before"]
    assert "loss" in result.err and "sqnr" in result.err
    assert list(logs.glob("events.out.tfevents*"))
    details = json.loads((out / "manifest.json").read_text())["sections"]["quantization"]["steps"][-1]["details"]
    assert details["learn"] == {"*": "pact"} and details["features"] == ["r"]


def test_what_to_train_must_be_clear(net: Path, deployed: Path, data: Path, tmp_path: Path) -> None:
    hexaquant("qat", net, "--data", data).assert_refused(2, "-o OUT")
    hexaquant("qat", deployed, "--data", data, "-o", tmp_path / "x").assert_refused(2, "leave out -o")
    hexaquant("qat", deployed, "--data", data, "--mode", "dorefa").assert_refused(2, "lsq, pact, ema, fixed")
    hexaquant("qat", deployed, "--data", data, "--batchnorm", "batch").assert_refused(2, "BatchNorm")
    hexaquant("qat", deployed, "--data", data, "--precision", "int3").assert_refused(2, "bfloat16")


def test_the_bar_shows_the_last_loss_and_score() -> None:
    screen = io.StringIO()
    with bars(Console(file=screen, force_terminal=True, width=150)) as listener:
        listener(Event("start", "finetune", total=2))
        listener(Event("progress", "finetune", done=1, total=2, data={"loss": 0.5, "sqnr": 21.0}))
        listener(Event("progress", "finetune", done=2, total=2, data={"loss": 0.25}))
    assert "loss 0.25  sqnr 21" in screen.getvalue()
