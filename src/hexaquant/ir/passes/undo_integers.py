"""Integer arithmetic that no encoding describes becomes float arithmetic again, so that the network can be quantized.

1. onnxruntime's dynamic quantization: DynamicQuantizeLinear with MatMulInteger or ConvInteger, or fused as
   DynamicQuantizeMatMul, MatMulIntegerToFloat, DynamicQuantizeLSTM, QAttention, QEmbedLayerNormalization. The ranges of
   its activations are found at run time; what is left of it are the weights.
2. MatMulNBits: weights of 2, 4 or 8 bits in blocks.
3. Data movement of integer constants that are dequantized behind it (an embedding): they are dequantized before.
4. DequantizeLinear of int64 (biases of TFLite's 16x8), which ONNX does not have.

The scale of an activation is 1 afterwards: integer products are linear in it, q s = (x / s) s = x 1. Factors behind a
product are folded into its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as oir

from hexaquant.ir.body import Body
from hexaquant.ir.edit import add_constant, bypass, int_attribute, producer, sole_consumer
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.dequantized import dequantized, dequantized_constant, with_steps

MS = "com.microsoft"
UNDONE = "hexaquant.undone"
"""Metadata key of a product whose weights are integers still: its factors are folded into them."""
MOVES = ("Gather", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Expand")


def undo_integers(graph: Graph) -> int:
    """Returns the number of nodes replaced."""
    changed = 0
    for node in graph.nodes:
        if node.graph is None:
            continue
        undo = UNDO.get((node.domain, node.op_type))
        if undo is not None:
            changed += undo(Body(node))
        elif node.op_type == "DequantizeLinear":
            changed += _dequantize_first(graph, node)
        elif UNDONE in node.metadata_props:
            changed += _fold_factor(graph, node)
    return changed


def fold_wide_constants(graph: Graph) -> int:
    """Condition 4 alone: it has to be done before shapes are inferred. Returns the number of nodes folded."""
    changed = 0
    for node in graph.nodes:
        integers = node.inputs[0] if node.op_type == "DequantizeLinear" else None
        if integers is not None and integers.dtype == oir.DataType.INT64 and constant(integers) is not None:
            numbers = dequantized_constant(node)
            if numbers is not None:
                body = Body(node)
                body.finish(body.constant(numbers))
                changed += 1
    return changed


def _source(value: oir.Value | None) -> oir.Value | None:
    """The float tensor whose integers ``value`` are, by DynamicQuantizeLinear or QuantizeLinear."""
    node = value.producer() if value is not None else None
    return node.inputs[0] if node is not None and node.op_type in ("DynamicQuantizeLinear", "QuantizeLinear") else None


def _forget_scale(value: oir.Value | None) -> bool:
    """Give the readers of a dynamic scale 1; False when the tensor has a static one, which stays."""
    node = producer(value, "DynamicQuantizeLinear")
    if node is None:
        return False
    graph = node.graph
    assert isinstance(graph, oir.Graph)
    one = add_constant(graph, f"{node.outputs[1].name}_one", np.array(1, np.float32))
    node.outputs[1].replace_all_uses_with(one)
    return True


def _product(op_type: str, axis: int) -> Callable[[Body], bool]:
    """MatMulInteger and ConvInteger: x, weights, zero points of both. ``axis``: of the weights' output channels."""

    def undo(body: Body) -> bool:
        x = _source(body.input(0))
        weight = constant(body.input(1))
        zero = constant(body.input(3))
        if x is None or weight is None or (body.input(3) is not None and zero is None):
            return False
        if not _forget_scale(body.input(0)):
            return False
        numbers = dequantized(weight, np.ones(()), zero, axis % weight.ndim)
        y = body.op(op_type, x, body.constant(numbers), **body.node.attributes)
        made = y.producer()
        assert made is not None
        made.metadata_props[UNDONE] = str(axis)
        for use, _ in list(body.node.outputs[0].uses()):
            use.outputs[0].type = y.type
        body.finish(y)
        return True

    return undo


def _fold_factor(graph: Graph, node: oir.Node) -> bool:
    """product * factor = x (weights * factor), for a constant factor per output channel or for all."""
    reader = sole_consumer(node.outputs[0])
    weight = constant(node.inputs[1])
    if reader is not None and reader.op_type == "Cast":
        return bypass(graph, reader, node.outputs[0])
    if reader is None or reader.op_type != "Mul" or weight is None:
        return False
    factor = constant(reader.inputs[1] if reader.inputs[0] is node.outputs[0] else reader.inputs[0])
    axis = int(node.metadata_props[UNDONE]) % weight.ndim
    if factor is None or factor.size not in (1, weight.shape[axis]):
        return False
    shape = [1] * weight.ndim
    shape[axis] = factor.size
    scaled = (weight * factor.reshape(shape)).astype(np.float32)
    source = node.inputs[1]
    assert source is not None
    node.replace_input_with(1, with_steps(add_constant(graph.model.graph, f"{source.name}_scaled", scaled), factor))
    return bypass(graph, reader, node.outputs[0])


def _dynamic_matmul(body: Body) -> bool:
    """DynamicQuantizeMatMul: x, weights, their scale and zero point, bias."""
    weight = constant(body.input(1))
    scale = constant(body.input(2))
    zero = constant(body.input(3))
    bias = body.input(4)
    if weight is None or scale is None or (body.input(3) is not None and zero is None):
        return False
    numbers = with_steps(body.constant(dequantized(weight, scale, zero, weight.ndim - 1)), scale)
    return _finish_linear(body, body.input(0), numbers, bias)


def _matmul_to_float(body: Body) -> bool:
    """MatMulIntegerToFloat: x, weights, scales of both, zero points of both, bias."""
    x, weight, scale, zero = _source(body.input(0)), *(constant(body.input(i)) for i in (1, 3, 5))
    if x is None or weight is None or scale is None or (body.input(5) is not None and zero is None):
        return False
    numbers = with_steps(body.constant(dequantized(weight, scale, zero, weight.ndim - 1)), scale)
    return _finish_linear(body, x, numbers, body.input(6))


def _finish_linear(body: Body, x: oir.Value | None, weight: oir.Value, bias: oir.Value | None) -> bool:
    y = body.op("MatMul", x, weight)
    body.finish(body.op("Add", y, bias) if bias is not None else y)
    return True


def _lstm(body: Body) -> bool:
    """DynamicQuantizeLSTM: X, W, R (directions, in, 4 hidden), B, lengths, states, P, then scale and zero of W, R."""
    found = []
    for index, scale, zero in ((1, 8, 9), (2, 10, 11)):
        q = constant(body.input(index))
        s = constant(body.input(scale))
        z = constant(body.input(zero))
        if q is None or s is None:
            return False
        per_direction = s.reshape(q.shape[0], -1) if s.size > 1 else s.reshape(1, 1)
        shift = np.zeros((1, 1)) if z is None else z.reshape(per_direction.shape).astype(np.float64)
        found.append(((q - shift[:, None]) * per_direction[:, None]).astype(np.float32).transpose(0, 2, 1))
    w, r = (body.constant(np.ascontiguousarray(weights)) for weights in found)
    rest = [body.input(i) for i in range(3, 8)]
    while rest and rest[-1] is None:
        rest.pop()
    count = len(body.node.outputs)
    body.finish(*body.ops("LSTM", [body.input(0), w, r, *rest], count, **body.node.attributes))
    return True


def _attention(body: Body) -> bool:
    """QAttention: x, weights, bias, scales of both, mask, zero points of both, past."""
    x, weight, scale, zero = _source(body.input(0)), *(constant(body.input(i)) for i in (1, 4, 7))
    if x is None or weight is None or scale is None or body.input(8) is not None:
        return False
    numbers = body.constant(dequantized(weight, scale, zero, 1))
    inputs = [x, numbers, body.input(2), body.input(5)]
    y = body.op("Attention", *inputs, **body.node.attributes)
    made = y.producer()
    assert made is not None
    made.domain = MS
    body.finish(y)
    return True


def _embeddings(body: Body) -> bool:
    """QEmbedLayerNormalization: ids, segments, five constants, mask, then their scales and their zero points."""
    tables: list[oir.Value | None] = []
    for index in range(2, 7):
        q = constant(body.input(index))
        s = constant(body.input(index + 6))
        z = constant(body.input(index + 11))
        tables.append(None if q is None or s is None else body.constant(dequantized(q, s, z)))
    made = oir.node("EmbedLayerNormalization", [*body.node.inputs[:2], *tables, body.input(7)], body.node.attributes)
    if tables[0] is None or tables[1] is None:
        return False
    made.domain = MS
    made.name = body.node.name
    graph = body.node.graph
    assert isinstance(graph, oir.Graph)
    made.resize_outputs(len(body.node.outputs))
    graph.insert_before(body.node, made)
    for value in made.outputs:
        value.name = f"{body.node.outputs[0].name}_{value.index()}"
    body.finish(*made.outputs)
    return True


def _n_bits(body: Body) -> bool:
    """MatMulNBits: x (..., K), weights (N, blocks, bytes), scales, zero points, group indices, bias."""
    bits = int_attribute(body.node, "bits", 4)
    block = int_attribute(body.node, "block_size", 32)
    k = int_attribute(body.node, "K", 0)
    n = int_attribute(body.node, "N", 0)
    q, scales, zeros = (constant(body.input(i)) for i in (1, 2, 3))
    if q is None or scales is None or body.input(4) is not None or (body.input(3) is not None and zeros is None):
        return False
    blocks = -(-k // block)
    numbers = _unpacked(q.reshape(n, blocks, -1), bits).astype(np.float32)
    if zeros is None:
        shift = np.full((1, 1), 2.0 ** (bits - 1), np.float32)
    elif zeros.dtype.kind == "f":
        shift = zeros.reshape(n, blocks).astype(np.float32)
    else:
        shift = _unpacked(zeros.reshape(n, -1), bits)[:, :blocks].astype(np.float32)
    weight = ((numbers - shift[..., None]) * scales.reshape(n, blocks, 1).astype(np.float32)).reshape(n, -1)[:, :k]
    return _finish_linear(body, body.input(0), body.constant(np.ascontiguousarray(weight.T)), body.input(5))


def _unpacked(array: np.ndarray, bits: int) -> np.ndarray:
    """The ``bits``-wide numbers in the bytes of the last axis, low bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return ((array[..., None] >> shifts) & (2**bits - 1)).reshape(*array.shape[:-1], -1)


def _dequantize_first(graph: Graph, node: oir.Node) -> bool:
    """Condition 3: dequantize(move(constant)) = move(dequantize(constant)), for one scale or a Gather along axis 0."""
    move = node.inputs[0].producer() if node.inputs[0] is not None else None
    scale = constant(node.inputs[1])
    if move is None or move.domain != "" or move.op_type not in MOVES or scale is None or scale.size != 1:
        return False
    integers = move.inputs[0]
    if constant(integers) is None or sole_consumer(move.outputs[0]) is not node:
        return False
    body = Body(move)
    numbers = body.op("DequantizeLinear", integers, *node.inputs[1:])
    moved = body.op(move.op_type, numbers, *move.inputs[1:], **move.attributes)
    last = Body(node)
    last.finish(moved)
    graph.model.graph.remove(move, safe=True)
    return True


UNDO: Mapping[tuple[str, str], Callable[[Body], bool]] = {
    ("", "MatMulInteger"): _product("MatMul", -1),
    ("", "ConvInteger"): _product("Conv", 0),
    (MS, "DynamicQuantizeMatMul"): _dynamic_matmul,
    (MS, "MatMulIntegerToFloat"): _matmul_to_float,
    (MS, "DynamicQuantizeLSTM"): _lstm,
    (MS, "QAttention"): _attention,
    (MS, "QEmbedLayerNormalization"): _embeddings,
    (MS, "MatMulNBits"): _n_bits,
}
"""By (domain, operator)."""
