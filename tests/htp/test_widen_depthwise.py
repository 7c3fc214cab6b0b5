"""Depthwise layers of kernel 1 run, and right, where the target could not build them or computed other numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as oir
import onnxruntime
import pytest
import torch
from torch import nn

import hexaquant as hq
from hexaquant.analysis.coverage import prove_coverage
from hexaquant.core.metrics import sqnr_db
from hexaquant.htp.faults import mend_or_refuse
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import freeze_batch
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.lower import lower
from hexaquant.qnn.runtime import Runtime

SOCS = {68: 30, 75: 57}
X = np.random.default_rng(0).uniform(-1, 1, (1, 8, 7, 6)).astype(np.float32)


def exported(folder: Path, *, stride: int = 1, scheme: str = "w8a8", per_tensor: bool = False) -> Path:
    """A network that is one depthwise layer of kernel 1 x 1."""
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 1, stride=stride, groups=8).eval()
    overrides = {"*": {"granularity": "tensor"}} if per_tensor else None
    example = (torch.from_numpy(X),)
    model = hq.quantize(layer, [X], scheme=scheme, recipe="plain", example_inputs=example, overrides=overrides)
    model.export(folder)
    freeze_batch(Graph(oir.load(folder / "model.qdq.onnx"), "net"), 1).save(folder / "static.onnx")
    return folder / "static.onnx"


def reference(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: X})[0])


@pytest.mark.parametrize(("stride", "scheme"), [(1, "w8a8"), (4, "w4a16")])
def test_taps_of_zeros_change_no_number(stride: int, scheme: str, tmp_path: Path) -> None:
    qdq = exported(tmp_path, stride=stride, scheme=scheme)
    model = oir.load(qdq)
    assert mend_or_refuse(model, "it", 68)["narrow-depthwise"] == 1
    oir.save(model, tmp_path / "wide.onnx")
    assert np.array_equal(reference(tmp_path / "wide.onnx"), reference(qdq))


CASES = [(68, 1, "w8a8", False), (75, 4, "w8a8", False), (75, 4, "w4a16", False), (75, 1, "w8a16", True)]


@pytest.mark.parametrize(("arch", "stride", "scheme", "per_tensor"), CASES)
def test_the_target_computes_it_right_with_every_encoding(
    arch: int, stride: int, scheme: str, per_tensor: bool, tmp_path: Path
) -> None:
    qdq = exported(tmp_path, stride=stride, scheme=scheme, per_tensor=per_tensor)
    report = lower(qdq, tmp_path / "model.dlc", SOCS[arch], arch)
    prove_coverage(Graph(oir.load(qdq), "net"), report).require_complete()
    binary = compile_dlc(report.path, tmp_path / "model.bin", SOCS[arch], arch).path
    wanted = reference(qdq)
    with Runtime(binary) as runtime:
        got = next(iter(runtime.run({oir.load(qdq).graph.inputs[0].name or "": X}).values()))
    assert np.abs(got - wanted).max() <= (2 if scheme == "w8a8" else 8) * np.ptp(wanted) / 2 ** (
        8 if scheme == "w8a8" else 16
    )


def test_four_channels_with_a_stride_are_right(tmp_path: Path) -> None:
    torch.manual_seed(1)
    layer, x = nn.Conv2d(4, 4, 1, stride=2, groups=4).eval(), X[:, :4]
    hq.quantize(layer, [x], scheme="w8a8", recipe="plain", example_inputs=(torch.from_numpy(x),)).export(tmp_path)
    freeze_batch(Graph(oir.load(tmp_path / "model.qdq.onnx"), "net"), 1).save(tmp_path / "static.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "static.onnx"), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    dlc = lower(tmp_path / "static.onnx", tmp_path / "model.dlc", SOCS[75], 75).path
    with Runtime(compile_dlc(dlc, tmp_path / "model.bin", SOCS[75], 75).path) as runtime:
        got = next(iter(runtime.run({name: x}).values()))
    assert sqnr_db(np.asarray(session.run(None, {name: x})[0]), got) > 35


def test_where_the_layer_runs_as_it_is_it_stays(tmp_path: Path) -> None:
    assert mend_or_refuse(oir.load(exported(tmp_path)), "it", 75)["narrow-depthwise"] == 0
