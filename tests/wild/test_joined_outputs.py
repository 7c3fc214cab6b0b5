"""Detectors that join boxes and scores in one output: said before and after, by part, mended by --split-outputs."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from hexaquant.api.deploy import deploy
from hexaquant.api.lint import lint
from hexaquant.api.verify import absurd_results
from hexaquant.core.events import Event, Events
from hexaquant.frontends import load
from hexaquant.ir.output_slices import output_slices, split_outputs


def uniform(*shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    return np.random.default_rng([3, *shape]).uniform(low, high, shape).astype(np.float32)


HEAD = "(float[1,3,16,16] x) => (float[1,{}] y)"
BODY = """
        f = Conv <pads=[1,1,1,1]> (x, w)
        r = Relu (f)
        b = Conv (r, wb)
        s = Conv (r, ws, bs)
        flat = Reshape (b, fours)
        boxes = Mul (flat, big)
        shaped = Reshape (s, threes)
        scores = Sigmoid (shaped)
"""
HEADS = {
    "joined": (HEAD.format("7,256"), "y = Concat <axis=1> (boxes, scores)"),
    "joined and turned": (
        HEAD.format("256,7"),
        "j = Concat <axis=1> (boxes, scores)  y = Transpose <perm=[0,2,1]> (j)",
    ),
    "three parts": (
        HEAD.format("8,256"),
        "best = ReduceMax <axes=[1], keepdims=1> (scores)  y = Concat <axis=-2> (boxes, best, scores)",
    ),
}


def detector(path: Path, kind: str, big: float = 600.0) -> Path:
    head, tail = HEADS[kind]
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {head} {{{BODY}{tail}}}')
    weights = {
        "w": uniform(8, 3, 3, 3),
        "wb": uniform(4, 8, 1, 1, low=0.0, high=0.1),
        "ws": uniform(3, 8, 1, 1) * 0.2,
        "bs": np.full(3, -3.0, np.float32),
        "fours": np.array([1, 4, 256]),
        "threes": np.array([1, 3, 256]),
        "big": np.array(big, np.float32),
    }
    for name, data in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(data, name))
    onnx.save(model, path)
    return path


DATA = {"x": uniform(20, 3, 16, 16)}


@pytest.mark.parametrize("kind", list(HEADS))
def test_the_concat_and_the_mend_are_named_before_and_after(kind: str, tmp_path: Path) -> None:
    net = detector(tmp_path / "net.onnx", kind)
    (told,) = [f for f in lint(net, data=DATA).findings if f.rule == "unlike-operands"]
    assert told.op_type == "Concat" and "--split-outputs" in told.fix
    events: list[Event] = []
    report = deploy(net, DATA, tmp_path / "out", metric=None, report=False, events=Events(events.append))
    warnings = [e.text for e in events if e.kind == "warning" and "--split-outputs" in e.text]
    assert any("(Concat)" in text for text in warnings) and any("is all zero" in text for text in warnings)
    parts = report["outputs"][0]["slices"]
    assert parts[0]["fp32_vs_target_sqnr_db"] > 30 and parts[-1]["all_zero_on_target"]
    assert report["outputs"][0]["fp32_vs_target_sqnr_db"] > 30, "which is why the whole does not tell"
    assert parts[-1]["stop"] == (8 if kind == "three parts" else 7)


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
@pytest.mark.parametrize("kind", list(HEADS))
def test_parts_of_their_own_are_accurate(kind: str, scheme: str, tmp_path: Path) -> None:
    graph = load(detector(tmp_path / "net.onnx", kind))
    assert split_outputs(graph) == ["y"]
    events: list[Event] = []
    report = deploy(
        graph, DATA, tmp_path / "out", scheme=scheme, metric=None, report=False, events=Events(events.append)
    )
    assert [o["name"] for o in report["outputs"]] == [f"y_{i}" for i in range(len(report["outputs"]))]
    assert min(o["fp32_vs_target_sqnr_db"] for o in report["outputs"]) > 25
    assert not [e for e in events if e.kind == "warning" and "split" in e.text] and not list(absurd_results(report))


def test_like_parts_draw_nothing(tmp_path: Path) -> None:
    net = detector(tmp_path / "net.onnx", "joined", big=1.0)
    assert not [f for f in lint(net, data=DATA).findings if f.rule == "unlike-operands"]
    report = deploy(net, DATA, tmp_path / "out", metric=None, report=False)
    assert "slices" not in report["outputs"][0]


def test_parts_follow_transposes_and_shared_tensors_stay_joined(tmp_path: Path) -> None:
    graph = load(detector(tmp_path / "net.onnx", "joined and turned"))
    assert [(s.name, s.axis, s.start, s.stop) for s in output_slices(graph)["y"]] == [
        ("boxes", -1, 0, 4),
        ("scores", -1, 4, 7),
    ]
    twice = onnx.load(tmp_path / "net.onnx")
    twice.graph.output.append(onnx.helper.make_tensor_value_info("j", onnx.TensorProto.FLOAT, [1, 7, 256]))
    assert split_outputs(load(twice)) == [], "two outputs read the Concat"
