"""Saving is atomic, complete and leaves the graph as it was."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx_text import assert_same, graph, random

from hexaquant.core.errors import EnvironmentLacksError
from hexaquant.frontends import load
from hexaquant.ir.normalize import normalize
from hexaquant.ir.save import save_model

CONV = "(float[1,3,8,8] x) => (float[1,4,6,6] y) { y = Conv(x, w) }"


def test_saved_file_is_the_same_model(tmp_path: Path) -> None:
    model = normalize(graph(CONV, w=random(4, 3, 3, 3)))
    model.save(tmp_path / "m.onnx")
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    assert_same(model, load(tmp_path / "m.onnx"), {"x": random(1, 3, 8, 8)})
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_large_graphs_get_external_data_that_loads_again(tmp_path: Path) -> None:
    model = normalize(graph(CONV.replace("4,6,6", "16,6,6"), w=random(16, 3, 3, 3)))
    save_model(model.model, tmp_path / "m.onnx", inline_limit=100)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert_same(model, load(tmp_path / "m.onnx"), {"x": random(1, 3, 8, 8)})


def test_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("old")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(EnvironmentLacksError, match="the disk is full"):
        normalize(graph(CONV, w=random(4, 3, 3, 3))).save(path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
