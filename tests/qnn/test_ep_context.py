"""onnxruntime with the QNN provider loads our binary through its ctx.onnx and gives the bytes of hq.Runtime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import hexaquant as hq
from hexaquant.api.compile import compile_folder
from hexaquant.folder.artifacts import export_model
from hexaquant.ir.normalize import normalize
from hexaquant.qnn.compile import GraphSource, compile_graphs
from ir.onnx_text import graph, random
from qnn.compiled import ARCH, SOC
from sim.nets import quantized

THROUGH_ONNXRUNTIME = """
import sys
import numpy as np, onnxruntime as ort, onnxruntime_qnn as qnn
model, inputs, outputs = sys.argv[1:]
ort.register_execution_provider_library("QNNExecutionProvider", qnn.get_library_path())
device = [d for d in ort.get_ep_devices() if d.ep_name == "QNNExecutionProvider"][:1]
options = ort.SessionOptions()
options.add_provider_for_devices(device, {"backend_path": qnn.get_qnn_htp_path()})
session = ort.InferenceSession(model, sess_options=options)
names = [output.name for output in session.get_outputs()]
np.savez(outputs, **dict(zip(names, session.run(names, dict(np.load(inputs))))))
"""


def through_onnxruntime(model: Path, **inputs: np.ndarray) -> tuple[dict[str, np.ndarray], str]:
    """Outputs by name of ``model`` run as a user would, and what was logged; in a process of its own, as the provider
    prints and may die."""
    np.savez(model.parent / "given.npz", **inputs)
    found = model.parent / "found.npz"
    arguments = [str(model), str(model.parent / "given.npz"), str(found)]
    done = subprocess.run([sys.executable, "-c", THROUGH_ONNXRUNTIME, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(found) as file:
        return dict(file), done.stderr


def assert_same_bytes(binary: Path, model: Path, graph_name: str | None = None, **inputs: np.ndarray) -> None:
    found, told = through_onnxruntime(model, **inputs)
    assert "positional" not in told  # tensors are found by name
    with hq.Runtime(binary, graph=graph_name) as runtime:
        expected = runtime.run(inputs)
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


TWO_OUTPUTS = """(float[1,3,8,8] picture, float[1,4,8,8] scale) => (float[1,4,8,8] z, float[1,4,1,1] mean) {
 c = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (picture, w)
 z = Mul (c, scale)
 mean = GlobalAveragePool (z)
}"""


def inputs(seed: int) -> dict[str, np.ndarray]:
    return {"picture": random(1, 3, 8, 8, seed=seed), "scale": random(1, 4, 8, 8, seed=seed + 50)}


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    model = normalize(graph(TWO_OUTPUTS, w=random(4, 3, 3, 3)))
    export_model(quantized(model, request.param, data=[inputs(seed) for seed in range(4)]), tmp_path)
    compile_folder(tmp_path)
    return tmp_path


@pytest.mark.parametrize("folder", ["w8a8", "w8a16", "fp16"], indirect=True)
def test_the_network_in_each_type(folder: Path) -> None:
    assert_same_bytes(folder / "model.sm8650.bin", folder / "model.sm8650.ctx.onnx", **inputs(9))


@pytest.mark.parametrize("folder", ["w8a8"], indirect=True)
def test_integers_in_and_out(folder: Path) -> None:
    (path,) = hq.write_ep_context(folder / "model.sm8650.bin", integers=True)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["EPContext"]
    with hq.Runtime(folder / "model.sm8650.bin", float_io=False) as runtime:
        stored = {spec.name: np.full(spec.shape, 130, spec.dtype) for spec in runtime.inputs}
        expected = runtime.run(stored)
    found, _ = through_onnxruntime(path, **stored)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("folder", ["w8a8"], indirect=True)
def test_each_graph_of_a_binary_with_two(folder: Path) -> None:
    binary = folder / "both.bin"
    compile_graphs([GraphSource(folder / "model.dlc", name) for name in ("one", "two")], binary, SOC, ARCH)
    names = hq.write_ep_context(binary, io=None)
    assert [path.name for path in names] == ["both.one.ctx.onnx", "both.two.ctx.onnx"]
    for path, graph_name in zip(names, ("one", "two"), strict=True):
        assert_same_bytes(binary, path, graph_name, **inputs(7))
