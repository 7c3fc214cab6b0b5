"""``hexaquant auto``: exit code 0 where a setting holds, 1 where none does, and the same JSON either way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from cli.command import hexaquant
from cli.tiny import samples, save_data

EXACT = "def exact(outputs, label):\n    return -abs(float(outputs['y'][0]) - float(label))\n"


def test_a_threshold_that_holds(net: Path, data: Path, tmp_path: Path) -> None:
    result = hexaquant("auto", net, "--data", data, "--max-drop", "1", "-o", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    found = result.document["auto"]
    assert found["met"] and found["chosen"] == "w8a8 plain" and found["metric"] == "top1"
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["sections"]["auto"] == found
    assert hexaquant("info", tmp_path / "out").code == 0


def test_a_threshold_that_nothing_holds_exits_1_with_the_best(net: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EXACT)
    x = samples(10)
    (y,) = ReferenceEvaluator(onnx.load(net)).run(None, {"x": x})
    data = save_data(tmp_path / "data.npz", labels=np.asarray(y)[:, 0])
    metric = f"{tmp_path / 'mine.py'}:exact"
    out = tmp_path / "out"
    result = hexaquant("auto", net, "--data", data, "--max-drop", "0.0001", "--metric", metric, "-o", out, "--json")
    result.assert_refused(1, "hexaquant qat", "points lost")
    found = result.document["auto"]
    assert not found["met"] and found["advice"] and len(found["attempts"]) >= 5
    assert (out / "model.sm8650.bin").is_file()


def test_bad_input_is_refused(net: Path, data: Path, tmp_path: Path) -> None:
    hexaquant("auto", net, "-o", tmp_path / "out").assert_refused(2, "--data")
    negative = hexaquant("auto", net, "--data", data, "--max-drop", "-1", "-o", tmp_path / "out")
    negative.assert_refused(2, "negative")
    hexaquant("auto", net, "--data", data, "--target", "sm1", "-o", tmp_path / "out").assert_refused(2, "sm1")
