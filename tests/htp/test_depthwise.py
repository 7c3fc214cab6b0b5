"""4-bit depthwise weights arrive as the same numbers in 8 bits, and the target's bias then errs by less."""

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
from hexaquant.htp.depthwise import FACTOR, refine_depthwise
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import freeze_batch
from hexaquant.qnn import lower as lowering
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.lower import lower
from hexaquant.qnn.runtime import Runtime
from qnn.compiled import ARCH, SOC

CHANNELS = 16
ALIVE = np.where(np.arange(CHANNELS) == 0, 1, 0.01).astype(np.float32)
X = np.random.default_rng(0).random((1, CHANNELS, 8, 8), np.float32) * ALIVE[:, None, None]
"""All channels but the first are nearly dead: a unit of their sums is several steps of the output."""


@pytest.fixture(scope="module")
def qdq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A depthwise layer with 4-bit weights."""
    torch.manual_seed(0)
    layer = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS)
    with torch.no_grad():
        layer.weight[1:] *= 100
    folder = tmp_path_factory.mktemp("fine")
    hq.quantize(layer.eval(), [X], scheme="w4a8", recipe="plain", example_inputs=(torch.from_numpy(X),)).export(folder)
    graph = freeze_batch(Graph(oir.load(folder / "model.qdq.onnx"), "net"), 1)
    graph.save(folder / "static.onnx")
    return folder / "static.onnx"


def reference(path: Path) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: X})[0])


def on_target(qdq: Path, folder: Path) -> np.ndarray:
    dlc = lower(qdq, folder / "model.dlc", SOC, ARCH)
    compiled = compile_dlc(dlc.path, folder / "model.bin", SOC, ARCH)
    with Runtime(compiled.path) as runtime:
        return next(iter(runtime.run({oir.load(qdq).graph.inputs[0].name or "": X}).values()))


def test_every_number_stays_what_it_was(qdq: Path, tmp_path: Path) -> None:
    model = oir.load(qdq)
    refined = refine_depthwise(model)
    assert len(refined) == 2 and all(set(factors) == {FACTOR} for factors in refined.values())
    oir.save(model, tmp_path / "fine.onnx")
    stored = {model.graph.initializers[name].dtype for name in refined}
    assert stored == {oir.DataType.INT8, oir.DataType.INT32}
    assert np.array_equal(reference(qdq), reference(tmp_path / "fine.onnx"))


def test_the_target_comes_closer(qdq: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = reference(qdq)
    with monkeypatch.context() as patch:
        patch.setattr(lowering, "refine_depthwise", lambda model, **options: {})
        coarse = np.abs(on_target(qdq, tmp_path) - wanted)
    fine = np.abs(on_target(qdq, tmp_path) - wanted)
    assert fine.mean() < coarse.mean() / 4


def test_coverage_proves_the_finer_encodings(qdq: Path, tmp_path: Path) -> None:
    graph = Graph(oir.load(qdq), "net")
    report = lower(qdq, tmp_path / "model.dlc", SOC, ARCH)
    assert report.refined
    coverage = prove_coverage(graph, report)
    coverage.require_complete()
    weight = next(row for row in coverage.rows if row.tensor == "weight")
    assert weight.asked.startswith("int8/channel") and weight.verdict == "exact"


def test_a_channel_whose_bias_fills_int32_stays(qdq: Path) -> None:
    model = oir.load(qdq)
    weights = {value.name or "": value for value in model.graph.initializers.values()}
    name = next(n for n in refine_depthwise(oir.load(qdq)) if weights[n].dtype == oir.DataType.INT32)
    full = np.array(weights[name].const_value)
    full[3] = 2**30
    weights[name].const_value = oir.Tensor(full, name=name)
    factors = refine_depthwise(model)[name]
    assert factors[3] == 1 and set(factors[:3] + factors[4:]) == {FACTOR}


def test_other_layers_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 6)
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2)).eval()
    hq.quantize(net, [x], scheme="w4a8", recipe="plain", example_inputs=(x,)).export(tmp_path)
    assert refine_depthwise(oir.load(tmp_path / "model.qdq.onnx")) == {}
