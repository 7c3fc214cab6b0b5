"""Float pads with the edge's values: the same numbers as Gathers, right on the target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as oir
import onnxruntime

from hexaquant.core.metrics import sqnr_db
from hexaquant.htp.faults import mend_or_refuse
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.lower import lower
from hexaquant.qnn.runtime import Runtime
from ir.onnx_text import graph
from qnn.compiled import ARCH, SOC

TEXT = '(float[1,4,6,5] x) => (float[1,4,9,8] y) {{ y = Pad <mode="{}"> (x, p) }}'
PADS = np.array([0, 0, 1, 2, 0, 0, 2, 1])
X = np.random.default_rng(0).uniform(-1, 1, (1, 4, 6, 5)).astype(np.float32)


def saved(path: Path, mode: str) -> Path:
    graph(TEXT.format(mode), p=PADS).save(path)
    return path


def reference(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": X})[0])


def test_gathers_say_the_same(tmp_path: Path) -> None:
    before = saved(tmp_path / "pad.onnx", "edge")
    model = oir.load(before)
    assert mend_or_refuse(model, "it", ARCH)["float-edge-pad"] == 1
    oir.save(model, tmp_path / "gather.onnx")
    assert [node.op_type for node in model.graph] == ["Gather", "Gather"]
    assert np.array_equal(reference(tmp_path / "gather.onnx"), reference(before))


def test_the_target_repeats_the_edge(tmp_path: Path) -> None:
    path = saved(tmp_path / "pad.onnx", "edge")
    dlc = lower(path, tmp_path / "model.dlc", SOC, ARCH).path
    with Runtime(compile_dlc(dlc, tmp_path / "model.bin", SOC, ARCH).path) as runtime:
        assert sqnr_db(reference(path), runtime.run({"x": X})["y"]) > 60


def test_other_modes_stay(tmp_path: Path) -> None:
    assert mend_or_refuse(oir.load(saved(tmp_path / "pad.onnx", "reflect")), "it", ARCH)["float-edge-pad"] == 0
