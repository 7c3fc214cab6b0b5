"""Shape inference of one node at a time, with symbolic dimensions ("batch", "2*batch") kept as expressions.

ONNX's own inference does the operators; Reshape, Expand and ConstantOfShape, which ONNX cannot infer for a
symbolic batch, are done here. Unknown dimensions keep what the exporter annotated.
"""

from __future__ import annotations

import onnx
import onnx.checker
import onnx.defs
import onnx.shape_inference
import onnx_ir as oir
import sympy

from hexaquant.core.errors import InputError
from hexaquant.ir.opset import IR_VERSION, OPSET
from hexaquant.ir.symbolic import Contents, as_dim, dims_of, symbol_for

SMALL = 4096
"""Constants with at most so many elements are shown to the inference (axes, pads, shapes ...)."""


SAME_SHAPE = frozenset(
    {"GroupNormalization", "MeanVarianceNormalization", "Mish", "RMSNormalization", "Shrink", "ThresholdedRelu"}
)
"""Elementwise operators for which ONNX's per-node inference may find nothing."""
FUSED_SAME_SHAPE = frozenset(
    {"Gelu", "BiasGelu", "FastGelu", "QuickGelu", "Inverse", "SkipLayerNormalization", "DequantizeLinear"}
    | {"QuantizeLinear", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"}
)
"""Those of com.microsoft that the executor knows, or that are undone only after import."""


def infer_node(node: oir.Node, contents: Contents) -> None:
    """Fill dtype and shape of ``node``'s outputs; ``contents`` holds the known integer tensors."""
    if node.domain == "":
        _infer_with_onnx(node)
    if node.domain != "" or node.op_type in SAME_SHAPE:
        _same_as_first_input(node)
    shape = _infer_symbolic(node, contents)
    if shape is not None:
        node.outputs[0].shape = oir.Shape(shape)


def _infer_with_onnx(node: oir.Node) -> None:
    types = {v.name: _type_proto(v) for v in node.inputs if v is not None and v.name and v.type is not None}
    data = {
        v.name: oir.serde.serialize_tensor(v.const_value)
        for v in node.inputs
        if v is not None and v.name and v.const_value is not None and v.const_value.size <= SMALL
    }
    try:
        schema = onnx.defs.get_schema(node.op_type, max_inclusive_version=OPSET)
        inferred = onnx.shape_inference.infer_node_outputs(
            schema,
            oir.serde.serialize_node(node),
            types,
            input_data=data,
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
    except onnx.checker.ValidationError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"operator {node.op_type} ('{node.name}') is malformed ({reason}); export the model again"
        ) from error
    except onnx.shape_inference.InferenceError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"operator {node.op_type} ('{node.name}') does not fit its inputs ({reason}); export the model again"
        ) from error
    except (onnx.defs.SchemaError, RuntimeError, ValueError, TypeError, KeyError):
        return
    for value in node.outputs:
        if value.name in inferred:
            _merge(value, inferred[value.name])


def _type_proto(value: oir.Value) -> onnx.TypeProto:
    assert value.type is not None
    proto = onnx.TypeProto()
    proto.tensor_type.elem_type = int(value.type.dtype)
    if value.shape is not None:
        proto.tensor_type.shape.SetInParent()
        dims = proto.tensor_type.shape.dim
        for index in range(len(value.shape)):
            dim = value.shape[index]
            entry = dims.add()
            if isinstance(dim, int):
                entry.dim_value = dim
            else:
                entry.dim_param = str(symbol_for(value, index))
    return proto


def _merge(value: oir.Value, proto: onnx.TypeProto) -> None:
    if not proto.HasField("tensor_type"):
        return
    tensor = proto.tensor_type
    if tensor.elem_type:
        value.type = oir.TensorType(oir.DataType(tensor.elem_type))
    if not tensor.HasField("shape"):
        return
    known = list(value.shape) if value.shape is not None and len(value.shape) == len(tensor.shape.dim) else None
    dims: list[int | str | oir.SymbolicDim | None] = []
    for index, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value"):
            dims.append(dim.dim_value)
        elif dim.dim_param and not dim.dim_param.startswith("unknown__"):
            dims.append(dim.dim_param)
        else:
            dims.append(known[index] if known is not None else None)
    value.shape = oir.Shape(dims)


def _same_as_first_input(node: oir.Node) -> None:
    """SAME_SHAPE, and operators of com.microsoft."""
    if node.op_type not in (FUSED_SAME_SHAPE if node.domain else SAME_SHAPE):
        return
    source = node.inputs[0] if node.inputs else None
    result = node.outputs[0]
    if source is not None and result.type is None:
        result.type = source.type
    if source is not None and result.shape is None:
        result.shape = source.shape


def _infer_symbolic(node: oir.Node, contents: Contents) -> list[int | str | None] | None:
    if node.domain != "" or node.op_type not in ("Reshape", "Expand", "ConstantOfShape", "Flatten"):
        return None
    data = node.inputs[0]
    if node.op_type == "Flatten":
        return _flatten_shape(node)
    target = contents.get(node.inputs[0] if node.op_type == "ConstantOfShape" else node.inputs[1])
    if target is None:
        return None
    if node.op_type == "ConstantOfShape":
        return [as_dim(d) for d in target]
    source = dims_of(data)
    if source is None:
        return None
    if node.op_type == "Expand":
        return [as_dim(d) for d in broadcast(source, list(target))]
    attribute = node.attributes.get("allowzero")
    return [as_dim(d) for d in reshaped(source, list(target), bool(attribute and attribute.as_int()))]


def _flatten_shape(node: oir.Node) -> list[int | str | None] | None:
    source = dims_of(node.inputs[0])
    if source is None:
        return None
    attribute = node.attributes.get("axis")
    axis = attribute.as_int() if attribute else 1
    axis = axis + len(source) if axis < 0 else axis
    return [as_dim(product(source[:axis])), as_dim(product(source[axis:]))]


def product(dims: list[sympy.Expr]) -> sympy.Expr:
    """Product of dimensions; 1 for none."""
    return sympy.Mul(*dims)


def broadcast(left: list[sympy.Expr], right: list[sympy.Expr]) -> list[sympy.Expr]:
    """Numpy broadcasting of two shapes; a symbol against a number other than 1 must be that number."""
    rank = max(len(left), len(right))
    a = [sympy.Integer(1)] * (rank - len(left)) + left
    b = [sympy.Integer(1)] * (rank - len(right)) + right
    return [y if x == 1 else x if y == 1 or not y.is_Integer else y for x, y in zip(a, b)]


def reshaped(source: list[sympy.Expr], target: list[sympy.Expr], allowzero: bool) -> list[sympy.Expr]:
    """The shape that Reshape makes of ``source`` given ``target`` with its 0 and -1 entries."""
    dims = [
        source[i] if d == 0 and not allowzero and i < len(source) else sympy.sympify(d) for i, d in enumerate(target)
    ]
    if -1 in dims:
        index = dims.index(sympy.Integer(-1))
        rest = product([d for i, d in enumerate(dims) if i != index])
        dims[index] = sympy.cancel(product(source) / rest) if rest != 0 else sympy.Integer(0)
    return dims
