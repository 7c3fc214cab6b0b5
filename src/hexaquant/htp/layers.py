"""Faults of fully connected layers, convolutions and products; ``find`` and ``mend`` as in chains.py."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.htp.qdq_view import DEQUANTIZE, View
from hexaquant.ir.edit import add_constant, int_attribute
from hexaquant.ir.graph import constant, shape_of


def find_lone_feature(view: View, node: oir.Node) -> str:
    """A constant matrix of several outputs, in integers, for one row of one feature (or for rows not counted yet)."""
    data = node.inputs[0]
    weight = view.stored(node.inputs[1])
    shape = None if data is None else shape_of(data)
    if not shape or weight is None or weight.data.ndim != 2 or not view.has_bits(node, 8, 16):
        return ""
    if node.op_type == "Gemm" and int_attribute(node, "transA", 0):
        return ""
    is_lone = shape[-1] == 1 and all(dim == 1 or not isinstance(dim, int) for dim in shape[:-1])
    return "reads one row of one feature" if is_lone and weight.data.size > 1 else ""


def layer_as_convolution(view: View, node: oir.Node) -> bool:
    """A 1x1 convolution between reshapes. A weight that others read, too, is copied; otherwise it keeps its name."""
    source = node.inputs[0]
    weight = node.inputs[1]
    output = node.outputs[0]
    stored = view.stored(weight)
    shape = None if source is None else shape_of(source)
    scales = [node.attributes[name].as_float() for name in ("alpha", "beta") if name in node.attributes]
    if source is None or weight is None or stored is None or shape is None or any(scale != 1 for scale in scales):
        return False
    size = stored.data.size
    name = output.name or "layer"
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and (vector := _bias_vector(view, node, bias, size)) is None:
        return False
    filters = view.reshape_constant(node, weight, lambda data: data.reshape(-1, 1, 1), 0, f"{weight.name}_filters")
    if filters is None:
        return False
    rows = shape[0] if len(shape) > 1 else 1
    point_shape = view.integers(f"{name}_point_shape", [-1, 1, 1])
    point = view.insert(node, "Reshape", [source, point_shape], {}, f"{name}_point", source, [rows, 1, 1])
    inputs = [point, filters] if bias is None else [point, filters, vector]
    layer = view.insert(node, "Conv", inputs, {"kernel_shape": [1]}, f"{name}_conv", output, [rows, size, 1])
    dims = shape_of(output) or ()
    back = [-1 if axis == 0 else int(str(dim)) for axis, dim in enumerate(dims)]
    view.replace(node, "Reshape", [layer, view.integers(f"{name}_row_shape", back)])
    return True


def _bias_vector(view: View, node: oir.Node, bias: oir.Value, size: int) -> oir.Value | None:
    """``bias`` as a vector of ``size``; None where it is computed or has more than one row."""
    stored = view.stored(bias)
    if stored is None or stored.data.size not in (1, size):
        return None
    if stored.data.shape == (size,):
        return bias
    return view.reshape_constant(
        node, bias, lambda data: np.broadcast_to(data.reshape(-1), (size,)).copy(), 0, f"{bias.name}_vector"
    )


def find_computed_bias(view: View, node: oir.Node) -> str:
    """A bias that the network computes, or gets as an input."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return "has a bias that is not constant" if bias is not None and not view.is_constant(bias) else ""


def add_bias_after(view: View, node: oir.Node) -> bool:
    """Of a float graph: an Add behind a layer with a bias of zeros. (A QDQ graph does not say how the product alone is
    quantized.)"""
    weight = view.stored(node.inputs[1])
    bias = node.inputs[2]
    output = node.outputs[0]
    scales = [node.attributes[name].as_float() for name in ("alpha", "beta") if name in node.attributes]
    shape = shape_of(output)
    bias_shape = None if bias is None else shape_of(bias)
    if (
        view.is_qdq
        or weight is None
        or bias is None
        or shape is None
        or bias_shape is None
        or any(s != 1 for s in scales)
    ):
        return False
    name = output.name or "layer"
    attributes = dict(node.attributes)
    product = view.insert(node, node.op_type, node.inputs[:2], attributes, f"{name}_product", output, shape)
    if node.op_type != "Gemm":
        column = [-1, *[1] * (len(shape) - 2)]
        column_shape = view.integers(f"{name}_bias_shape", column)
        dims = [*bias_shape, *[1] * (len(shape) - 2)]
        bias = view.insert(node, "Reshape", [bias, column_shape], {}, f"{name}_bias_column", bias, dims)
    view.replace(node, "Add", [product, bias])
    return True


def find_rank_five_product(view: View, node: oir.Node) -> str:
    """Both operands of rank 5 with the same first three dimensions, all known."""
    left, right = (None if value is None else shape_of(value) for value in node.inputs)
    if left is None or right is None or len(left) != 5 or len(right) != 5 or left[:3] != right[:3]:
        return ""
    return "multiplies operands of five dimensions" if all(isinstance(dim, int) for dim in (*left, *right)) else ""


def merge_batch_axes(view: View, node: oir.Node) -> bool:
    """A product of rank 4 between reshapes; a constant operand is reshaped at once."""
    output = node.outputs[0]
    name = node.outputs[0].name or "product"
    operands = [_merged(view, node, value, f"{name}_{side}") for value, side in zip(node.inputs, ("left", "right"))]
    dims = _dims(output)
    product = view.insert(node, "MatMul", operands, {}, f"{name}_merged", output, _merge(dims))
    view.replace(node, "Reshape", [product, view.integers(f"{name}_shape", dims)])
    return True


def _merged(view: View, node: oir.Node, value: oir.Value | None, name: str) -> oir.Value:
    assert value is not None
    shape = _merge(_dims(value))
    data = constant(value)
    if data is not None:
        return add_constant(view.graph, f"{value.name}_merged", data.reshape(shape))
    return view.insert(node, "Reshape", [value, view.integers(f"{name}_shape", shape)], {}, name, value, shape)


def _dims(value: oir.Value) -> list[int]:
    return [int(str(dim)) for dim in shape_of(value) or ()]


def _merge(shape: list[int]) -> list[int]:
    return [shape[0], shape[1] * shape[2], *shape[3:]]


def find_weight_axis(view: View, node: oir.Node) -> str:
    """Scales of the weight of a MatMul or Gemm that go by another axis than the outputs'."""
    stored = view.stored(node.inputs[1])
    if stored is None or stored.axis is None:
        return ""
    rank = stored.data.ndim
    transposed = node.op_type == "Gemm" and int_attribute(node, "transB", 0) == 1
    if stored.axis == (rank - 2 if transposed else rank - 1):
        return ""
    return f"has a weight with one scale for each index of axis {stored.axis}"


def find_bias_scale(view: View, node: oir.Node) -> str:
    """A quantized bias whose scale is not input scale x weight scale."""
    quantizers = [None if value is None else value.producer() for value in node.inputs[:3]]
    found = [q for q in quantizers if q is not None and q.op_type == DEQUANTIZE]
    scales = [constant(q.inputs[1]) for q in found]
    if len(scales) != 3 or any(scale is None or not scale.size for scale in scales):
        return ""
    data, weight, bias = (np.asarray(scale, np.float64).ravel() for scale in scales)
    expected = data[:1] * weight
    fits = bias.size in (1, expected.size) or expected.size == 1
    if fits and np.allclose(bias, expected, rtol=1e-3):
        return ""
    return "has a bias that is not quantized with input scale x weight scale"
