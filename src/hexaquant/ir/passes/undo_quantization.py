"""A network that came quantized (QDQ, or onnxruntime's QLinear operators) as the float network that it stands for.

Its weights are the numbers that its integers stand for; its activations are float again, to be calibrated for the
target. To keep the encodings that it came with, convert it instead of quantizing it (io/qdq_reader.py).

1. DequantizeLinear of constants becomes a constant; a constant that is quantized first is put on that grid.
2. Every integer tensor has a float twin: what QuantizeLinear read, or what the same operator makes of the twins of its
   inputs (MaxPool, Reshape, Concat ... on integers; QLinearConv, QGemm ...). DequantizeLinear gives the twin.
3. Where the integers end at zero, they do the work of a Relu that the quantizer removed: Clip(0, largest) stands for
   it, unless what comes before is never negative.
4. Integer inputs and outputs of the network become float.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as oir

from hexaquant.ir.body import Body
from hexaquant.ir.edit import int_attribute
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.dequantized import dequantized, dequantized_constant, on_grid, with_steps

MS = "com.microsoft"
INTEGERS = frozenset({oir.DataType.UINT8, oir.DataType.INT8, oir.DataType.UINT16, oir.DataType.INT16})
NEVER_NEGATIVE = frozenset({"Relu", "Sigmoid", "Softmax", "HardSigmoid", "Abs", "Exp", "Sqrt"})
SAME_SIGN = frozenset(
    {"MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Transpose", "Flatten", "Concat", "Resize", "Squeeze"}
    | {"Unsqueeze", "Slice", "Gather", "DequantizeLinear", "QuantizeLinear", "Pad", "Split", "Identity"}
)


def undo_quantization(graph: Graph) -> int:
    """Returns the number of nodes undone."""
    undo = _Undo(graph)
    for node in graph.nodes:
        undo.visit(node)
    undo.finish()
    return undo.changed


@dataclass
class _Undo:
    graph: Graph
    twins: dict[oir.Value, oir.Value] = field(default_factory=dict)
    changed: int = 0

    def visit(self, node: oir.Node) -> None:
        key = (node.domain, node.op_type)
        if node.op_type == "QuantizeLinear":
            self._quantize(node)
        elif node.op_type == "DequantizeLinear":
            self._dequantize(node)
        elif key in QLINEAR:
            self._qlinear(node, QLINEAR[key])
        elif any(value in self.twins for value in node.inputs if value is not None):
            self._move(node)

    def _quantize(self, node: oir.Node) -> None:
        x = node.inputs[0]
        scale = constant(node.inputs[1])
        zero = self._zero(node, 2)
        if x is None or scale is None or zero is None:
            return
        body = Body(node)
        data = constant(x)
        if data is not None:
            twin = with_steps(body.constant(on_grid(data, scale, zero, int_attribute(node, "axis", 1))), scale)
        else:
            twin = self._clipped(body, x, scale, zero)
        self.twins[node.outputs[0]] = twin

    def _dequantize(self, node: oir.Node) -> None:
        integers = node.inputs[0]
        numbers = dequantized_constant(node)
        if integers is None or (numbers is None and integers not in self.twins and not integers.is_graph_input()):
            return
        body = Body(node)
        scale = constant(node.inputs[1])
        if numbers is not None and scale is not None:
            twin = with_steps(body.constant(numbers), scale)
        elif integers in self.twins:
            twin = self.twins[integers]
        else:
            integers.type = oir.TensorType(oir.DataType.FLOAT)
            twin = self.twins[integers] = integers
        body.finish(twin)
        self.changed += 1

    def _move(self, node: oir.Node) -> None:
        """The same operator on floats; what it makes is its own twin."""
        for index, value in enumerate(node.inputs):
            if value is not None and value in self.twins:
                node.replace_input_with(index, self.twins[value])
        for value in node.outputs:
            if value.dtype in INTEGERS:
                value.type = oir.TensorType(oir.DataType.FLOAT)
            self.twins[value] = value

    def _qlinear(self, node: oir.Node, rule: Rule) -> None:
        body = Body(node)
        made = rule(self, body)
        if made is None:
            return
        y, scale, zero = made
        twin = y if scale is None or zero is None else self._clipped(body, y, scale, zero)
        old = node.outputs[0]
        self.twins[old] = twin
        self.changed += 1
        if scale is None:
            body.finish(twin)

    def operand(self, body: Body, index: int, axis: int = 1) -> oir.Value | None:
        """Inputs ``index`` (integers), ``index + 1`` (scale) and ``index + 2`` (zero point) as a float tensor."""
        return self.of(body, body.input(index), body.input(index + 1), body.input(index + 2), axis)

    def of(
        self, body: Body, q: oir.Value | None, scale: oir.Value | None, zero: oir.Value | None, axis: int = 1
    ) -> oir.Value | None:
        """The float tensor of the integers ``q``."""
        data = constant(q)
        step = constant(scale)
        if q is not None and q in self.twins:
            return self.twins[q]
        if data is not None and step is not None:
            return with_steps(body.constant(dequantized(data, step, constant(zero), axis % max(data.ndim, 1))), step)
        if q is not None and q.is_graph_input():
            q.type = oir.TensorType(oir.DataType.FLOAT)
            self.twins[q] = q
            return q
        return None

    def _clipped(self, body: Body, x: oir.Value, scale: np.ndarray, zero: np.ndarray) -> oir.Value:
        """Condition 3."""
        limits = np.iinfo(zero.dtype)
        if scale.size != 1 or int(zero.reshape(-1)[0]) != limits.min or _never_negative(x):
            return x
        high = float((limits.max - limits.min) * scale.reshape(-1)[0])
        return body.op("Clip", x, body.constant(0.0), body.constant(high))

    def _zero(self, node: oir.Node, index: int) -> np.ndarray | None:
        value = node.inputs[index] if len(node.inputs) > index else None
        if value is None:
            kind = int_attribute(node, "output_dtype", 0) or int(oir.DataType.UINT8)
            return np.zeros((), oir.DataType(kind).numpy())
        return constant(value)

    def finish(self) -> None:
        """Let the network's integer outputs be their twins, and remove what only made integers."""
        outputs = self.graph.model.graph.outputs
        for index, value in enumerate(list(outputs)):
            twin = self.twins.get(value)
            if twin is None or twin is value or value.producer() is None:
                continue
            name = value.name
            value.name = None
            if twin.producer() is None or twin.is_graph_output():
                twin = Body(value.producer()).op("Identity", twin)  # type: ignore[arg-type]
            outputs[index] = twin
            twin.name = name
        for node in reversed(self.graph.nodes):
            unread = not any(v.uses() or v.is_graph_output() for v in node.outputs)
            if unread and ((node.domain, node.op_type) in QLINEAR or node.op_type == "QuantizeLinear"):
                self.graph.model.graph.remove(node, safe=True)
                self.changed += 1


Rule = Callable[[_Undo, Body], "tuple[oir.Value, np.ndarray | None, np.ndarray | None] | None"]


def _never_negative(value: oir.Value) -> bool:
    """Whether the operators before ``value`` say that it is never below zero."""
    node = value.producer()
    data = constant(value)
    if data is not None:
        return bool((data >= 0).all())
    if node is None or not node.inputs:
        return False
    if node.op_type in NEVER_NEGATIVE:
        return True
    if node.op_type == "Clip":
        bound = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        return bound is not None and bool((bound >= 0).all())
    return node.op_type in SAME_SIGN and all(
        _never_negative(v) for v in (node.inputs if node.op_type == "Concat" else node.inputs[:1]) if v is not None
    )


def _with_grid(y: oir.Value | None, body: Body, index: int) -> Any:
    """``y`` and the grid of the output: scale and zero point at ``index``."""
    if y is None:
        return None
    return y, constant(body.input(index)), constant(body.input(index + 1))


def _conv(undo: _Undo, body: Body) -> Any:
    """QLinearConv: x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias."""
    x = undo.operand(body, 0)
    w = undo.operand(body, 3, 0)
    bias = constant(body.input(8))
    x_scale = constant(body.input(1))
    w_scale = constant(body.input(4))
    if x is None or w is None or x_scale is None or w_scale is None:
        return None
    more = [] if bias is None else [body.constant(bias * (x_scale * w_scale).reshape(-1))]
    return _with_grid(body.op("Conv", x, w, *more, **body.node.attributes), body, 6)


def _matmul(undo: _Undo, body: Body) -> Any:
    """QLinearMatMul: a and b with their grids, y_scale, y_zero."""
    a = undo.operand(body, 0)
    b = undo.operand(body, 3, -1)
    return None if a is None or b is None else _with_grid(body.op("MatMul", a, b), body, 6)


def _gemm(undo: _Undo, body: Body) -> Any:
    """QGemm: a and b with their grids, int32 c, y_scale, y_zero (absent: the output is float)."""
    a = undo.operand(body, 0)
    b = undo.operand(body, 3, 0 if int_attribute(body.node, "transB", 0) else 1)
    c = constant(body.input(6))
    a_scale = constant(body.input(1))
    b_scale = constant(body.input(4))
    if a is None or b is None or a_scale is None or b_scale is None:
        return None
    attribute = body.node.attributes.get("alpha")
    alpha = 1.0 if attribute is None else attribute.as_float()
    more = [] if c is None else [body.constant(c * alpha * (a_scale * b_scale).reshape(-1))]
    return _with_grid(body.op("Gemm", a, b, *more, **body.node.attributes), body, 7)


def _binary(op_type: str) -> Rule:
    """QLinearAdd, QLinearMul: a and b with their grids, y_scale, y_zero."""

    def rule(undo: _Undo, body: Body) -> Any:
        a = undo.operand(body, 0)
        b = undo.operand(body, 3)
        return None if a is None or b is None else _with_grid(body.op(op_type, a, b), body, 6)

    return rule


def _unary(op_type: str, *attributes: str) -> Rule:
    """QLinearSigmoid ...: x with its grid, y_scale, y_zero."""

    def rule(undo: _Undo, body: Body) -> Any:
        x = undo.operand(body, 0)
        if x is None or int_attribute(body.node, "channels_last", 0):
            return None
        kept = {name: a for name, a in body.node.attributes.items() if name in attributes}
        return _with_grid(body.op(op_type, x, **kept), body, 3)

    return rule


def _mean(undo: _Undo, body: Body) -> Any:
    """QLinearReduceMean: x with its grid, y_scale, y_zero; axes is an attribute."""
    x = undo.operand(body, 0)
    axes = body.node.attributes.get("axes")
    if x is None or axes is None:
        return None
    keep = int_attribute(body.node, "keepdims", 1)
    return _with_grid(body.op("ReduceMean", x, body.ints(*axes.as_ints()), keepdims=keep), body, 3)


def _concat(undo: _Undo, body: Body) -> Any:
    """QLinearConcat: y_scale, y_zero, then every operand with its grid."""
    parts = [undo.operand(body, index) for index in range(2, len(body.node.inputs), 3)]
    if any(part is None for part in parts):
        return None
    return _with_grid(body.op("Concat", *parts, axis=int_attribute(body.node, "axis", 0)), body, 0)


POOLING = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")

QLINEAR: Mapping[tuple[str, str], Rule] = {
    ("", "QLinearConv"): _conv,
    ("", "QLinearMatMul"): _matmul,
    (MS, "QGemm"): _gemm,
    (MS, "QLinearAdd"): _binary("Add"),
    (MS, "QLinearMul"): _binary("Mul"),
    (MS, "QLinearSigmoid"): _unary("Sigmoid"),
    (MS, "QLinearLeakyRelu"): _unary("LeakyRelu", "alpha"),
    (MS, "QLinearSoftmax"): _unary("Softmax", "axis"),
    (MS, "QLinearAveragePool"): _unary("AveragePool", *POOLING),
    (MS, "QLinearGlobalAveragePool"): _unary("GlobalAveragePool"),
    (MS, "QLinearReduceMean"): _mean,
    (MS, "QLinearConcat"): _concat,
}
"""By (domain, operator)."""
