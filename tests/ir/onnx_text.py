"""Tiny models in ONNX text, and the one comparison that matters: onnxruntime before and after."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnx_ir as oir
import onnxruntime as ort

from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize
from hexaquant.ir.rewrite import rewrite_forms


def proto(text: str, opset: int = 21, **constants: np.ndarray) -> onnx.ModelProto:
    """A model from ``(inputs) => (outputs) {nodes}`` with ``constants`` as initializers."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\ng {text}')
    for name, array in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return model


def graph(text: str, opset: int = 21, **constants: np.ndarray) -> Graph:
    return Graph(oir.from_proto(proto(text, opset, **constants)), "test")


def run(model: onnx.ModelProto | Graph, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    if isinstance(model, Graph):
        model = oir.to_proto(model.model)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def assert_same(
    before: onnx.ModelProto | Graph, after: Graph, feeds: dict[str, np.ndarray], rtol: float = 1e-5
) -> None:
    """Float outputs equal within ``rtol`` of the largest magnitude, others exactly."""
    for expected, got in zip(run(before, feeds), run(after, feeds), strict=True):
        assert expected.shape == got.shape and expected.dtype == got.dtype
        scale = max(1.0, float(np.abs(expected).max())) if expected.dtype.kind == "f" else 0.0
        np.testing.assert_allclose(got, expected, rtol=0, atol=rtol * scale)


def rewritten(text: str, feeds: dict[str, np.ndarray], opset: int = 21, rtol: float = 1e-5, **constants) -> Graph:  # type: ignore[no-untyped-def]
    """The graph of ``text`` after every exact rewrite, which computes the same and is final."""
    before = graph(text, opset, **constants)
    after = normalize(before)
    rewrite_forms(after)
    assert rewrite_forms(after) == 0
    assert_same(before, after, feeds, rtol)
    return after


def ops(model: Graph) -> list[str]:
    return [node.op_type for node in model.nodes]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
