from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as oir
import onnxruntime as ort
import pytest

from hexaquant.ir.graph import Graph

SAMPLES = Path(__file__).parent.parent / "data" / "aimet"


@pytest.fixture
def samples() -> Path:
    """AIMET's encodings files and QDQ models of one small network."""
    return SAMPLES


@pytest.fixture
def net() -> Graph:
    """The float network behind the samples."""
    return Graph(oir.load(SAMPLES / "net_fp32.onnx"))


@pytest.fixture
def run_ort() -> Callable[..., list[np.ndarray]]:
    """Outputs of a Graph or ONNX file in onnxruntime without graph optimizations."""

    def run(model: Graph | Path, *inputs: np.ndarray) -> list[np.ndarray]:
        data = oir.to_proto(model.model).SerializeToString() if isinstance(model, Graph) else model.read_bytes()
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return session.run(None, {i.name: x for i, x in zip(session.get_inputs(), inputs, strict=True)})

    return run


@pytest.fixture
def from_text() -> Callable[[str], Graph]:
    """A Graph from ONNX text."""
    return lambda text: Graph(oir.from_onnx_text(text))
