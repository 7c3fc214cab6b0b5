"""The debugger with the emulator: a Softmax that the target computes coarsely; the compiled copy is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import hexaquant as hq
from hexaquant.htp.legality import legality_table
from ir.onnx_text import random
from sim.nets import net

TEXT = """(float[N,3,8,8] x) => (float[N,10] y) {
    c = Conv <pads=[1,1,1,1]> (x, w, b)
    r = Relu (c)
    f = Flatten (r)
    s = Gemm <transB=1> (f, v, b2)
    t = Softmax <axis=-1> (s)
    y = Gemm <transB=1> (t, u, b3)
}"""


def test_a_coarse_softmax_is_explained_and_the_second_call_compiles_nothing(tmp_path: Path) -> None:
    weights = {"w": random(6, 3, 3, 3), "v": random(64, 384, seed=3) * np.float32(0.1), "u": random(10, 64, seed=5)}
    biases = {"b": random(6, seed=1), "b2": random(64, seed=2), "b3": random(10, seed=6)}
    data = {"x": random(4, 3, 8, 8, seed=7)}
    graph = net(TEXT, **weights, **biases)
    hq.quantize(graph, data, scheme="w8a16", recipe="plain").export(tmp_path)
    report = hq.debug(tmp_path, data, workers=1)
    assert not report.without_target
    (finding,) = [f for f in report.findings if f.tensor == "t"]
    known = legality_table().errors_16["Softmax"]
    assert f"Softmax at 16 bits on this target is accurate to about {known} LSB" in finding.text
    assert "float16" in finding.fix
    assert report.first_target_leaves_simulation == "t"
    (binary,) = tmp_path.glob(".state/debug/*/shown.bin")
    made = binary.stat().st_mtime_ns
    again = hq.debug(tmp_path, data, mode="isolated", workers=1)
    assert binary.stat().st_mtime_ns == made
    assert again.first_target_leaves_simulation == "t"
    figures = {errors.name: errors.sim_target.db for _, errors in again.tensors}
    assert figures["t"] < figures["s"] and figures["y"] > figures["t"]


@pytest.mark.parametrize("how", ["another network's, whole", "names of outputs exchanged", "bytes of the binary"])
def test_an_altered_compiled_copy_is_made_again(how: str, tmp_path: Path) -> None:
    data = {"x": random(2, 3, 8, 8, seed=7)}
    folders = [quantized(tmp_path / name, seed, data) for name, seed in (("a", 0), ("b", 40))]
    truth = figures_of(folders[0], data)
    (copy,) = folders[0].glob(".state/debug/*")
    binary = (copy / "shown.bin").read_bytes()
    if how == "another network's, whole":
        figures_of(folders[1], data)
        (other,) = folders[1].glob(".state/debug/*")
        shutil.rmtree(copy)
        shutil.copytree(other, copy)
    elif how == "names of outputs exchanged":
        manifest = json.loads((copy / "manifest.json").read_text())
        outputs = manifest["sections"]["lower"]["io"]["outputs"]
        outputs[0][0], outputs[1][0] = outputs[1][0], outputs[0][0]
        (copy / "manifest.json").write_text(json.dumps(manifest))
    else:
        (copy / "shown.bin").write_bytes(binary[: len(binary) // 2])
    assert figures_of(folders[0], data) == truth


def quantized(out: Path, seed: int, data: dict[str, np.ndarray]) -> Path:
    text = """(float[N,3,8,8] x) => (float[N,6,8,8] y) {
        c = Conv <pads=[1,1,1,1]> (x, w, b)
        r = Relu (c)
        y = Conv (r, v, b)
    }"""
    weights = {"w": random(6, 3, 3, 3, seed=seed), "v": random(6, 6, 1, 1, seed=seed + 2)}
    graph = net(text, **weights, b=random(6, seed=seed + 1))
    hq.quantize(graph, data, recipe="plain").export(out)
    return out


def figures_of(out: Path, data: dict[str, np.ndarray]) -> dict[str, float]:
    report = hq.debug(out, data, workers=1)
    assert not report.without_target
    return {errors.name: errors.sim_target.db for _, errors in report.tensors if errors.name in ("r", "y")}
