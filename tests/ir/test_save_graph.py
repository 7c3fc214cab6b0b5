"""Saving is atomic, complete and leaves the graph as it was."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx_text import assert_same, graph, random

from hexaquant.core.errors import EnvironmentLacksError
from hexaquant.frontends import load
from hexaquant.ir.normalize import normalize
from hexaquant.ir.save import parts, save_model, to_proto

CONV = "(float[1,3,8,8] x) => (float[1,4,6,6] y) { y = Conv(x, w) }"


def test_saved_file_is_the_same_model(tmp_path: Path) -> None:
    model = normalize(graph(CONV, w=random(4, 3, 3, 3)))
    model.save(tmp_path / "m.onnx")
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    assert_same(model, load(tmp_path / "m.onnx"), {"x": random(1, 3, 8, 8)})
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_parts_are_the_model_and_none_is_much_larger_than_the_largest_constant() -> None:
    weights = {f"w{index}": random(20, 20, seed=index) for index in range(12)}
    steps = " ".join(f"x{index + 1} = MatMul (x{index}, w{index})" for index in range(12))
    model = normalize(graph(f"(float[1,20] x0) => (float[1,20] x12) {{ {steps} }}", **weights)).model
    found = list(parts(model))
    read = onnx.load_from_string(b"".join(found))
    whole = to_proto(model)
    assert max(map(len, found)) < 2 * 20 * 20 * 4
    for kind in ("initializer", "node", "input", "output", "value_info"):
        expected = {entry.name: entry for entry in getattr(whole.graph, kind)}
        assert {entry.name: entry for entry in getattr(read.graph, kind)} == expected, kind
    assert read.opset_import == whole.opset_import and read.ir_version == whole.ir_version


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
