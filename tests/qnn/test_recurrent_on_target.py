"""Recurrent networks from file to the emulator: against onnxruntime without optimisations, and the simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import hexaquant as hq
from hexaquant.core.metrics import sqnr_db

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, INPUTS, HIDDEN = 12, 10, 16
BARS_DB = {"w8a8": 30.0, "w8a16": 45.0}
"""Measured 37 to 41 and 57 to 62 dB; integers step by step gave 28 and 31."""


def network(path: Path, kind: str, direction: str = "forward", **options: int | bool) -> Path:
    """One layer whose h (and c) are inputs and outputs; ``lengths`` adds an input of int32 (1,)."""
    rng = np.random.default_rng(0)
    count, rows = (2 if direction == "bidirectional" else 1), GATES[kind] * HIDDEN
    sizes = {"w": (count, rows, INPUTS), "r": (count, rows, HIDDEN), "b": (count, 2 * rows)}
    weights = [numpy_helper.from_array(rng.uniform(-0.3, 0.3, s).astype(np.float32), n) for n, s in sizes.items()]
    states = ["h", "c"][: 2 if kind == "LSTM" else 1]
    shapes: dict[str, list[int]] = {"x": [STEPS, 1, INPUTS]} | {name: [count, 1, HIDDEN] for name in states}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    with_lengths = options.pop("lengths", False)
    if with_lengths:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [1]))
    results = ["y", *[f"{name}_next" for name in states]]
    node = helper.make_node(
        kind,
        ["x", "w", "r", "b", "lengths" if with_lengths else "", *states],
        results,
        name="layer",
        hidden_size=HIDDEN,
        direction=direction,
        **options,
    )
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results]
    graph = helper.make_graph([node], "recurrent", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def samples(path: Path, count: int, seed: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    inputs = onnx.load(path).graph.input
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inputs}
    made = [{n: rng.uniform(-1, 1, s).astype(np.float32) for n, s in shapes.items()} for _ in range(count)]
    return [one | ({"lengths": np.array([7], np.int32)} if "lengths" in one else {}) for one in made]


def truth(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return [np.asarray(v) for v in ort.InferenceSession(path, options, ["CPUExecutionProvider"]).run(None, feeds)]


CASES: list[tuple[str, str, dict[str, int | bool], str]] = [
    ("LSTM", "bidirectional", {}, "w8a8"),
    ("LSTM", "reverse", {"lengths": True}, "w8a16"),
    ("GRU", "bidirectional", {"linear_before_reset": 1}, "w8a16"),
    ("GRU", "forward", {"linear_before_reset": 0}, "w8a8"),
    ("RNN", "forward", {}, "w8a16"),
]


@pytest.mark.parametrize(("kind", "direction", "options", "scheme"), CASES)
def test_the_target_computes_what_onnxruntime_does(
    tmp_path: Path, kind: str, direction: str, options: dict[str, int | bool], scheme: str
) -> None:
    path = network(tmp_path / "net.onnx", kind, direction, **options)
    model = hq.quantize(hq.load(path), samples(path, 8, 1), target="sm8650", scheme=scheme, recipe="plain")
    assert kind in [node.op_type for node in model.source_graph.nodes], "the operator stays one"
    model.export(tmp_path / "out")
    done = hq.compile(tmp_path / "out")
    unseen = samples(path, 2, 2)
    with hq.Runtime(done.binaries["sm8650"]) as runtime:
        got = [runtime.run(feeds) for feeds in unseen]
    wanted = [truth(path, feeds) for feeds in unseen]
    for index, name in enumerate(model.reference.outputs if model.reference else []):
        found = np.stack([one[name.name or ""].reshape(want[index].shape) for one, want in zip(got, wanted)])
        assert sqnr_db(np.stack([want[index] for want in wanted]), found) > BARS_DB[scheme], name.name
