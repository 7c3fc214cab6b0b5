"""AveragePool with one encoding behind a transposed tensor that is cut at opposite ends, as TFLite files have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hexaquant.api.compile import compile_folder
from hexaquant.core.metrics import sqnr_db
from hexaquant.folder.artifacts import export_model
from hexaquant.htp.faults import mend_or_refuse
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.lower import lower
from hexaquant.qnn.runtime import Runtime
from ir.onnx_text import assert_same, graph, random, run
from qnn.compiled import ARCH, SOC
from sim.nets import quantized


def cropped(starts: list[int], ends: list[int]) -> Graph:
    """Transposed, cut along height and width, pooled; every tensor in the same 8 bits."""
    steps = ["Transpose <perm = [0,3,1,2]> (x1)", "Slice (t1, a, e, n)"]
    steps.append("AveragePool <kernel_shape = [2,2], strides = [2,2]> (d1)")
    text = "q = QuantizeLinear (x, s, z) x1 = DequantizeLinear (q, s, z)"
    for name, end, step in zip("tdp", ("t1", "d1", "y"), steps, strict=True):
        text += f" {name} = {step} {name}q = QuantizeLinear ({name}, s, z) {end} = DequantizeLinear ({name}q, s, z)"
    cuts = {"a": np.array(starts), "e": np.array(ends), "n": np.array([2, 3])}
    shapes = "(float[1,9,9,8] x) => (float[1,8,4,4] y)"
    return normalize(graph(f"{shapes} {{ {text} }}", s=np.float32(0.03), z=np.uint8(100), **cuts))


def db_on_target(model: Graph, folder: Path) -> float:
    feeds = {"x": random(1, 9, 9, 8)}
    model.save(folder / "model.onnx")
    lower(folder / "model.onnx", folder / "model.dlc", SOC, ARCH, float_io=True)
    compile_dlc(folder / "model.dlc", folder / "model.bin", SOC, ARCH)
    with Runtime(folder / "model.bin") as runtime:
        return sqnr_db(run(model, feeds)[0], runtime.run(feeds)["y"])


def test_lowering_mends_it_and_the_target_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = cropped([1, 0], [9, -1])
    mended = model.clone()
    assert mend_or_refuse(mended.model, "test", ARCH)["cropped-window"] == 1
    assert_same(model, mended, {"x": random(1, 9, 9, 8)})
    assert db_on_target(model, tmp_path) > 25
    monkeypatch.setattr("hexaquant.qnn.lower.mend_or_refuse", lambda *_: {})
    assert db_on_target(model, tmp_path) < 10


def test_cuts_of_the_end_stay() -> None:
    assert mend_or_refuse(cropped([0, 0], [-1, -1]).model, "test", ARCH)["cropped-window"] == 0


LAYER = "c = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (x, w)"
BEFORE = {
    "a layer": LAYER,
    "an activation": f"{LAYER.replace('c =', 'v =')}\n c = Sigmoid (v)",
    "a pooling": "c = MaxPool <kernel_shape=[3,3], pads=[1,1,1,1]> (x)",
}
POOL = "y = AveragePool <kernel_shape=[2,2], strides=[2,2]> (s)"
WINDOWS = {
    "means": (POOL, (1, 8, 4, 4)),
    "means after an activation": (f"r = Relu (s)\n {POOL.replace('(s)', '(r)')}", (1, 8, 4, 4)),
    "a convolution": ("y = Conv <kernel_shape=[3,3]> (s, w)", (1, 8, 6, 6)),
    "a depthwise convolution": ("y = Conv <kernel_shape=[1,3], group=8> (s, d)", (1, 8, 8, 6)),
}
CUT = {"starts": np.array([1, 1]), "ends": np.array([9, 9]), "axes": np.array([2, 3])}
WEIGHTS = {"w": random(8, 8, 3, 3, seed=1) * 0.2, "d": random(8, 1, 1, 3, seed=5)}


def agreement(steps: str, shape: tuple[int, ...], scheme: str, folder: Path, **constants: np.ndarray) -> float:
    """dB of the target against FP32 on a sample that calibration did not see."""
    used = {name: array for name, array in (WEIGHTS | constants).items() if f", {name}" in steps}
    dims = ",".join(map(str, shape))
    model = normalize(graph(f"(float[1,8,9,9] x) => (float[{dims}] y) {{ {steps} }}", **used))
    export_model(quantized(model, scheme, data=[{"x": random(1, 8, 9, 9, seed=seed)} for seed in range(4)]), folder)
    compile_folder(folder, check=False)
    feeds = {"x": random(1, 8, 9, 9, seed=9)}
    with Runtime(folder / "model.sm8650.bin") as runtime:
        return sqnr_db(run(model, feeds)[0], runtime.run(feeds)["y"])


CASES = [(name, "means", "w8a8") for name in BEFORE]
CASES += [("a layer", window, "w8a8") for window in WINDOWS if window != "means"]
CASES += [("a layer", "means", scheme) for scheme in ("w8a16", "fp16")]


@pytest.mark.parametrize(("before", "window", "scheme"), CASES)
def test_a_window_over_what_a_layer_computes_and_a_slice_crops(
    before: str, window: str, scheme: str, tmp_path: Path
) -> None:
    """NASNet's reduction cells, Cropping2D before AveragePooling2D: no Transpose is needed for the fault."""
    last, shape = WINDOWS[window]
    steps = f"{BEFORE[before]}\n s = Slice (c, starts, ends, axes)\n {last}"
    assert agreement(steps, shape, scheme, tmp_path, **CUT) > 26


def test_parts_of_a_split(tmp_path: Path) -> None:
    steps = f"{LAYER}\n t, s = Split <axis=2> (c, parts)\n a = GlobalMaxPool (t)\n b = {POOL[4:]}\n y = Add (a, b)"
    assert agreement(steps, (1, 8, 2, 4), "w8a8", tmp_path, parts=np.array([4, 5])) > 26
