"""Case: a network of one operator, and data for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

NUMPY = {"float": np.float32, "int": np.int64, "bool": np.bool_}
SAMPLES = 4
"""Calibration samples; the last one is what the target computes."""


@dataclass(frozen=True)
class Input:
    """A computed operand. ``low``..``high``: range of its values (integers: ``high`` excluded)."""

    shape: tuple[int, ...]
    dtype: str = "float"
    low: float = -1.0
    high: float = 1.0

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        if self.dtype == "bool":
            return rng.random(self.shape) > 0.5
        if self.dtype == "int":
            return rng.integers(int(self.low), int(self.high), self.shape)
        return rng.uniform(self.low, self.high, self.shape).astype(np.float32)


Operand = Input | np.ndarray | None


@dataclass(frozen=True)
class Case:
    """``op_type`` on ``operands``: inputs of the network, constants, None for those left out."""

    op_type: str
    operands: tuple[Operand, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    domain: str = ""
    opset: int = 21

    @property
    def name(self) -> str:
        """The operator, its operands' shapes and its attributes."""
        shapes = ["-" if o is None else _dims(o) for o in self.operands]
        texts = [f"{key}={_text(value)}" for key, value in sorted(self.attributes.items())]
        return " ".join([self.op_type, *shapes, *texts])

    def model(self) -> onnx.ModelProto:
        """The network with the shapes of its outputs."""
        return with_output_shapes(self.draft(), self.feeds()[0])

    def draft(self) -> onnx.ModelProto:
        """The network; operand i is called ``x<i>`` or ``c<i>``, output i ``y<i>``, of which nothing is known."""
        names = [f"y{i}" for i in range(self.outputs)]
        operands = [_operand_name(i, operand) for i, operand in enumerate(self.operands)]
        node = helper.make_node(self.op_type, operands, names, name="layer", domain=self.domain, **self.attributes)
        inputs = [_info(f"x{i}", o.shape, o.dtype) for i, o in enumerate(self.operands) if isinstance(o, Input)]
        constants = [
            numpy_helper.from_array(o, f"c{i}") for i, o in enumerate(self.operands) if isinstance(o, np.ndarray)
        ]
        graph = helper.make_graph([node], "case", inputs, [onnx.ValueInfoProto(name=n) for n in names], constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def feeds(self) -> list[dict[str, np.ndarray]]:
        """SAMPLES draws of all inputs, the same for the same case."""
        rng = np.random.default_rng(seed_of(self.name))
        inputs = {f"x{i}": operand for i, operand in enumerate(self.operands) if isinstance(operand, Input)}
        return [{name: operand.draw(rng) for name, operand in inputs.items()} for _ in range(SAMPLES)]


def seed_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def with_output_shapes(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> onnx.ModelProto:
    """``model`` with the types and shapes of its outputs, which onnxruntime tells by running it."""
    for name, array in run_reference(model.SerializeToString(), feeds).items():
        value = next(o for o in model.graph.output if o.name == name)
        value.CopyFrom(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape))
    return model


def run_reference(model: bytes | str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name of onnxruntime on the CPU without graph optimizations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds))))


def _operand_name(index: int, operand: Operand) -> str:
    if operand is None:
        return ""
    return f"x{index}" if isinstance(operand, Input) else f"c{index}"


def _info(name: str, shape: tuple[int, ...], dtype: str) -> onnx.ValueInfoProto:
    types = {"float": TensorProto.FLOAT, "int": TensorProto.INT64, "bool": TensorProto.BOOL}
    return helper.make_tensor_value_info(name, types[dtype], shape)


def _dims(operand: Input | np.ndarray) -> str:
    shape = "x".join(str(d) for d in operand.shape)
    if isinstance(operand, Input):
        return f"i{'' if operand.dtype == 'float' else operand.dtype}{shape}"
    is_short = operand.size <= 10 and (operand.dtype.kind != "f" or operand.ndim == 0)
    return f"c{shape}" + (f"={_text(operand.ravel().tolist())}" if is_short else "")


def _text(value: Any) -> str:
    return ",".join(str(v) for v in value) if isinstance(value, list | tuple) else str(value)
