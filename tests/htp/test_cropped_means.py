"""AveragePool behind a tensor that is cut at opposite ends, as TFLite files have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hexaquant.core.metrics import sqnr_db
from hexaquant.htp.faults import mend_or_refuse
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.lower import lower
from hexaquant.qnn.runtime import Runtime
from ir.onnx_text import assert_same, graph, random, run
from qnn.compiled import ARCH, SOC

TRANSPOSED = "Transpose <perm = [0,3,1,2]> (x1)"
CONVOLVED = "Conv (x1, w)"


def cropped(starts: list[int], ends: list[int], scale: float = 0.03, first: str = TRANSPOSED) -> Graph:
    """``first``, cut along height and width, pooled in 8 bits; ``scale``: of the output."""
    steps = [first, "Slice (t1, a, e, n)"]
    steps.append("AveragePool <kernel_shape = [2,2], strides = [2,2]> (d1)")
    text = "q = QuantizeLinear (x, s, z) x1 = DequantizeLinear (q, s, z)"
    for name, end, step, grid in zip("tdp", ("t1", "d1", "y"), steps, ("s, z", "s, z", "r, z"), strict=True):
        text += f" {name} = {step} {name}q = QuantizeLinear ({name}, {grid}) {end} = DequantizeLinear ({name}q, {grid})"
    cuts = {"a": np.array(starts), "e": np.array(ends), "n": np.array([2, 3])}
    shape = "1,9,9,8" if first == TRANSPOSED else "1,8,9,9"
    body = f"(float[{shape}] x) => (float[1,8,4,4] y) {{ {text} }}"
    more = {"s": np.float32(0.03), "r": np.float32(scale), "w": 0.4 * random(8, 8, 1, 1)}
    return normalize(graph(body, z=np.uint8(100), **more, **cuts))


def db_on_target(model: Graph, folder: Path) -> float:
    feeds = {"x": random(*model.inputs[0].shape)}
    model.save(folder / "model.onnx")
    lower(folder / "model.onnx", folder / "model.dlc", SOC, ARCH, float_io=True)
    compile_dlc(folder / "model.dlc", folder / "model.bin", SOC, ARCH)
    with Runtime(folder / "model.bin") as runtime:
        return sqnr_db(run(model, feeds)[0], runtime.run(feeds)["y"])


@pytest.mark.parametrize(("scale", "first"), [(0.03, TRANSPOSED), (0.025, TRANSPOSED), (0.025, CONVOLVED)])
def test_lowering_mends_it_and_the_target_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float, first: str
) -> None:
    model = cropped([1, 0], [9, -1], scale, first)
    mended = model.clone()
    assert mend_or_refuse(mended.model, "test", ARCH)["cropped-mean"] == 1
    assert_same(model, mended, {"x": random(*model.inputs[0].shape)})
    assert db_on_target(model, tmp_path) > 25
    monkeypatch.setattr("hexaquant.qnn.lower.mend_or_refuse", lambda *_: {})
    assert db_on_target(model, tmp_path) < 10


@pytest.mark.parametrize("cut", [([1, 0], [9, 9]), ([0, 0], [-1, -1]), ([1, 1], [9, 9])])
def test_cuts_of_one_side_stay(cut: tuple[list[int], list[int]]) -> None:
    assert mend_or_refuse(cropped(*cut).model, "test", ARCH)["cropped-mean"] == 0
