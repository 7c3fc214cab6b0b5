"""A small builder of QDQ ONNX models for the tests of hexaquant.qnn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

LIMITS = {
    "uint8": (0, 255),
    "int8": (-128, 127),
    "uint16": (0, 65535),
    "int16": (-32768, 32767),
    "int4": (-8, 7),
    "int32": (-(2**31), 2**31 - 1),
}
ONNX_TYPES = {name: getattr(TensorProto, name.upper()) for name in LIMITS}


class QdqBuilder:
    """Collects nodes; quantized values are named ``<value>_q`` (integers) and ``<value>_dq`` (floats again)."""

    def __init__(self, opset: int = 21) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.scales: dict[str, np.ndarray] = {}

    def constant(self, name: str, values: Any, dtype: str | None = None) -> str:
        array = np.asarray(values)
        if dtype == "int4":
            flat = array.astype(np.int32).ravel().tolist()
            self.initializers.append(helper.make_tensor(name, TensorProto.INT4, array.shape, flat))
        else:
            self.initializers.append(numpy_helper.from_array(array if dtype is None else array.astype(dtype), name))
        return name

    def input(self, name: str, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        domain = attributes.pop("domain", "")
        self.nodes.append(
            helper.make_node(op, list(inputs), [output], name=f"node_{output}", domain=domain, **attributes)
        )
        return output

    def quantized(
        self, value: str, low: float, high: float, dtype: str = "uint8", output: str | None = None, scale: Any = None
    ) -> str:
        """``value`` through QuantizeLinear and DequantizeLinear with the range [low, high]."""
        qmin, qmax = LIMITS[dtype]
        step = (high - low) / (qmax - qmin) if scale is None else scale
        zero = round(qmin - low / step) if np.isfinite(step) and step > 0 else 0
        stem = f"{value}_{dtype}" if f"{value}_q" in self.scales else value
        self.constant(f"{stem}_scale", np.float32(step))
        self.constant(f"{stem}_zero", np.array(zero, dtype))
        numbers = [f"{stem}_scale", f"{stem}_zero"]
        self.scales[f"{stem}_q"] = self.scales[output or f"{stem}_dq"] = np.float32(step)
        self.node("QuantizeLinear", [value, *numbers], f"{stem}_q")
        return self.node("DequantizeLinear", [f"{stem}_q", *numbers], output or f"{stem}_dq")

    def weight(self, name: str, values: np.ndarray, axis: int | None = 0, dtype: str = "int8") -> str:
        """A symmetric quantized initializer ``<name>_q`` and its DequantizeLinear."""
        qmax = LIMITS[dtype][1]
        axes = None if axis is None else tuple(i for i in range(values.ndim) if i != axis % values.ndim)
        scale = np.asarray(np.abs(values).max(axis=axes) / qmax, np.float32)
        view = [1] * values.ndim
        if axis is not None:
            view[axis] = -1
        q = np.clip(np.round(values / scale.reshape(view if axis is not None else ())), -qmax, qmax)
        return self._stored(name, q, scale, axis, dtype)

    def bias(self, name: str, values: np.ndarray, data: str, weight: str) -> str:
        """int32 with scale = scale of ``data`` x scale of ``weight``."""
        scale = np.asarray(self.scales[data] * self.scales[weight], np.float32)
        return self._stored(name, np.round(values / scale), scale, 0 if scale.ndim else None, "int32")

    def _stored(self, name: str, q: np.ndarray, scale: np.ndarray, axis: int | None, dtype: str) -> str:
        self.constant(f"{name}_q", q, dtype)
        self.constant(f"{name}_scale", scale)
        self.constant(f"{name}_zero", np.zeros(scale.shape), dtype)
        self.scales[name] = scale
        attributes = {} if axis is None else {"axis": axis}
        return self.node("DequantizeLinear", [f"{name}_q", f"{name}_scale", f"{name}_zero"], name, **attributes)

    def output(self, name: str, shape: Sequence[int | str] | None = None, dtype: int = TensorProto.FLOAT) -> str:
        self.outputs.append(helper.make_tensor_value_info(name, dtype, None if shape is None else list(shape)))
        return name

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "model", self.inputs, self.outputs, self.initializers)
        domains = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=domains, ir_version=10)
        return onnx.shape_inference.infer_shapes(model)

    def save(self, path: Path) -> Path:
        onnx.save(self.model(), path)
        return path


def conv_relu(path: Path, act: str = "uint8", weight: str = "int8", seed: int = 0) -> Path:
    """x [1, 8, 12, 12] -> Conv 3x3 to 16 channels -> Relu -> y, per-channel weights, int32 bias."""
    rng, b = np.random.default_rng(seed), QdqBuilder()
    x = b.quantized(b.input("x", [1, 8, 12, 12]), -1, 1, act)
    w = b.weight("w", rng.normal(size=(16, 8, 3, 3)).astype(np.float32) * 0.1, dtype=weight)
    bias = b.bias("b", rng.normal(size=16).astype(np.float32) * 0.1, x, w)
    conv = b.node("Conv", [x, w, bias], "conv", pads=[1, 1, 1, 1])
    b.quantized(b.node("Relu", [conv], "relu"), 0, 2, act, output="y")
    b.output("y", [1, 16, 12, 12])
    return b.save(path)


def reference(path: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The model in onnxruntime on the CPU without graph optimizations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds)))
