"""What changed in the ONNX operators from opset 7 to 21, one adapter a change (source: ONNX Changelog.md).

Every adapter rewrites one node in place from the version before its key's version to that version. Operators
whose newer versions only widened types, broadcasting or optional attributes need none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as oir

from hexaquant.core.errors import InputError
from hexaquant.ir.edit import (
    add_constant,
    insert_before,
    int_attribute,
    replace_node,
    string_attribute,
)

Adapter = Callable[[oir.Node], None]

REDUCTIONS = [
    "ReduceMax",
    "ReduceMin",
    "ReduceMean",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
]


def _constant_input(node: oir.Node, index: int, array: np.ndarray, label: str) -> None:
    """Give ``node`` a constant as input ``index``, padding absent optional inputs."""
    graph = node.graph
    assert isinstance(graph, oir.Graph)
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, add_constant(graph, f"{node.outputs[0].name}_{label}", array))


def _ints_to_input(label: str, index: int) -> Adapter:
    """Adapter that turns the int-list attribute ``label`` into input ``index``."""

    def adapt(node: oir.Node) -> None:
        attribute = node.attributes.pop(label, None)
        if attribute is not None:
            _constant_input(node, index, np.array(attribute.as_ints(), np.int64), label)

    return adapt


def _batchnorm_9(node: oir.Node) -> None:
    if int_attribute(node, "spatial", 1) != 1:
        raise InputError(f"BatchNormalization '{node.name}' with spatial=0 is not supported; export a newer opset")
    node.attributes.pop("spatial", None)


def _batchnorm_14(node: oir.Node) -> None:
    if any(list(v.uses()) or v.is_graph_output() for v in node.outputs[1:]):
        raise InputError(f"BatchNormalization '{node.name}' is in training mode; export the model in eval mode")
    node.resize_outputs(1)


def _upsample_9(node: oir.Node) -> None:
    attribute = node.attributes.pop("scales", None)
    if attribute is not None:
        _constant_input(node, 1, np.array(attribute.as_floats(), np.float32), "scales")


def _upsample_10(node: oir.Node) -> None:
    replace_node(node, "Resize", list(node.inputs), {"mode": string_attribute(node, "mode", "nearest")})


def _resize_11(node: oir.Node) -> None:
    data = node.inputs[0]
    scales = node.inputs[1]
    node.resize_inputs(3)
    node.replace_input_with(0, data)
    node.replace_input_with(1, None)
    node.replace_input_with(2, scales)
    node.attributes["coordinate_transformation_mode"] = oir.AttrString("coordinate_transformation_mode", "asymmetric")
    if string_attribute(node, "mode", "nearest") == "nearest":
        node.attributes["nearest_mode"] = oir.AttrString("nearest_mode", "floor")


def _slice_10(node: oir.Node) -> None:
    for index, label in enumerate(("starts", "ends", "axes"), start=1):
        _ints_to_input(label, index)(node)


def _topk_10(node: oir.Node) -> None:
    attribute = node.attributes.pop("k", None)
    if attribute is not None:
        _constant_input(node, 1, np.array([attribute.as_int()], np.int64), "k")


def _pad_11(node: oir.Node) -> None:
    _ints_to_input("pads", 1)(node)
    value = node.attributes.pop("value", None)
    if value is not None:
        _constant_input(node, 2, np.array(value.as_float(), _float_dtype(node)), "value")


def _clip_11(node: oir.Node) -> None:
    for index, label in enumerate(("min", "max"), start=1):
        attribute = node.attributes.pop(label, None)
        if attribute is not None:
            _constant_input(node, index, np.array(attribute.as_float(), _float_dtype(node)), label)


def _float_dtype(node: oir.Node) -> np.dtype:
    data = node.inputs[0]
    return data.dtype.numpy() if data is not None and data.dtype is not None else np.dtype(np.float32)


def _scatter_11(node: oir.Node) -> None:
    node.op_type = "ScatterElements"


def _dropout_12(node: oir.Node) -> None:
    node.attributes.pop("ratio", None)


def _softmax_13(node: oir.Node) -> None:
    """Before 13 the input was coerced to 2-D at ``axis`` (default 1); from 13 one axis is normalised."""
    data = node.inputs[0]
    assert data is not None
    axis = int_attribute(node, "axis", 1)
    shape = data.shape
    if shape is not None:
        axis = axis + len(shape) if axis < 0 else axis
        if all(d == 1 for d in list(shape)[axis + 1 :]):
            node.attributes["axis"] = oir.AttrInt64("axis", axis)
            return
    name = node.outputs[0].name or "softmax"
    flat = insert_before(node, "Flatten", [data], {"axis": axis}, f"{name}_flat")
    soft = insert_before(node, node.op_type, [flat], {"axis": -1}, f"{name}_2d")
    original = insert_before(node, "Shape", [data], {}, f"{name}_shape")
    replace_node(node, "Reshape", [soft, original], {})


def _split_18(node: oir.Node) -> None:
    if len(node.inputs) < 2 or node.inputs[1] is None:
        node.attributes["num_outputs"] = oir.AttrInt64("num_outputs", len(node.outputs))


def _roialign_16(node: oir.Node) -> None:
    name = "coordinate_transformation_mode"
    node.attributes.setdefault(name, oir.AttrString(name, "output_half_pixel"))


def _gridsample_20(node: oir.Node) -> None:
    mode = string_attribute(node, "mode", "bilinear")
    node.attributes["mode"] = oir.AttrString("mode", {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode))


def _dft_20(node: oir.Node) -> None:
    axis = int_attribute(node, "axis", 1)
    node.attributes.pop("axis", None)
    _constant_input(node, 2, np.array(axis, np.int64), "axis")


def _groupnorm_21(node: oir.Node) -> None:
    """Scale and bias went from one value per group to one per channel."""
    data = node.inputs[0]
    groups = int_attribute(node, "num_groups", 1)
    channels = data.shape[1] if data is not None and data.shape is not None else None
    for index, label in ((1, "scale"), (2, "bias")):
        value = node.inputs[index]
        if value is None or value.const_value is None or not isinstance(channels, int):
            raise InputError(f"GroupNormalization '{node.name}' of opset 18 has unknown channels; export with opset 21")
        _constant_input(node, index, np.repeat(value.const_value.numpy(), channels // groups), label)


ADAPTERS: dict[tuple[str, int], Adapter] = {
    ("BatchNormalization", 9): _batchnorm_9,
    ("BatchNormalization", 14): _batchnorm_14,
    ("Upsample", 9): _upsample_9,
    ("Upsample", 10): _upsample_10,
    ("Resize", 11): _resize_11,
    ("Slice", 10): _slice_10,
    ("TopK", 10): _topk_10,
    ("Pad", 11): _pad_11,
    ("Clip", 11): _clip_11,
    ("Scatter", 11): _scatter_11,
    ("Dropout", 12): _dropout_12,
    ("Softmax", 13): _softmax_13,
    ("LogSoftmax", 13): _softmax_13,
    ("Hardmax", 13): _softmax_13,
    ("ReduceSum", 13): _ints_to_input("axes", 1),
    ("Squeeze", 13): _ints_to_input("axes", 1),
    ("Unsqueeze", 13): _ints_to_input("axes", 1),
    ("Split", 13): _ints_to_input("split", 1),
    ("Split", 18): _split_18,
    ("RoiAlign", 16): _roialign_16,
    **{(op, 18): _ints_to_input("axes", 1) for op in REDUCTIONS},
    ("GridSample", 20): _gridsample_20,
    ("DFT", 20): _dft_20,
    ("GroupNormalization", 21): _groupnorm_21,
}
"""(operator, version) -> adapter from the version before."""
