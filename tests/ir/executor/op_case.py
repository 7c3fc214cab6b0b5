"""One operator with inputs, run by onnxruntime and by the executor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as oir
import onnxruntime as ort
import torch
from onnx import helper, numpy_helper

from hexaquant.ir.executor import build_module
from hexaquant.ir.graph import Graph


@dataclass(frozen=True)
class OpCase:
    """``op`` on ``inputs`` (None when absent). ``constant``: positions that are initializers rather than inputs."""

    op: str
    inputs: tuple[np.ndarray | None, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    outputs: int = 1
    constant: tuple[int, ...] = ()
    domain: str = ""
    opset: int = 21
    atol: float = 1e-5

    def __str__(self) -> str:
        return f"{self.op}-{self.name}" if self.name else self.op

    def model(self, constant: tuple[int, ...] | None = None) -> onnx.ModelProto:
        """The one-node model, with the inputs at ``constant`` (default: this case's) as initializers."""
        held = self.constant if constant is None else constant
        names = [f"in{i}" if x is not None else "" for i, x in enumerate(self.inputs)]
        present = [(i, n, x) for i, (n, x) in enumerate(zip(names, self.inputs)) if x is not None]
        node = helper.make_node(
            self.op, names, [f"out{i}" for i in range(self.outputs)], "node", domain=self.domain, **self.attributes
        )
        graph = helper.make_graph(
            [node],
            "one_op",
            [_info(n, x) for i, n, x in present if i not in held],
            [helper.make_empty_tensor_value_info(f"out{i}") for i in range(self.outputs)],
            [numpy_helper.from_array(x, n) for i, n, x in present if i in held],
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def fed(self, constant: tuple[int, ...] | None = None) -> dict[str, np.ndarray]:
        held = self.constant if constant is None else constant
        return {f"in{i}": x for i, x in enumerate(self.inputs) if x is not None and i not in held}


def _info(name: str, x: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)


def onnxruntime_outputs(case: OpCase) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(case.model().SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, case.fed())


def executed(case: OpCase, constant: tuple[int, ...] | None = None) -> tuple[torch.fx.GraphModule, list[torch.Tensor]]:
    """The module of the case and its inputs as tensors."""
    module = build_module(Graph(oir.serde.deserialize_model(case.model(constant))))
    return module, [torch.tensor(x) for x in case.fed(constant).values()]


def outputs_of(result: torch.Tensor | tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return [result] if isinstance(result, torch.Tensor) else list(result)
