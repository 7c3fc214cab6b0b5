"""An ONNX file in onnxruntime on the CPU: what others are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hexaquant.qnn.runtime import available_cores


class OnnxSession:
    """The network at ``path``. ``optimized`` False: every node as it stands, for quantized networks, whose fused
    integer kernels round and saturate in ways of their own."""

    def __init__(self, path: Path, *, optimized: bool = True) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = available_cores()
        options.log_severity_level = 3
        if not optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self.names, self.session.run(None, dict(inputs)), strict=True))
