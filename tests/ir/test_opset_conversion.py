"""A model of an older or newer opset computes the same after conversion to 21."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_text import assert_same, graph, ops, proto, random

from hexaquant.core.errors import InputError
from hexaquant.frontends import load
from hexaquant.ir.normalize import normalize

X = random(2, 4, 6, 6)
CONSTANTS = {
    "w": random(4, 4, 3, 3, seed=1),
    "g": random(4, seed=2),
    "b": random(4, seed=3),
    "m": random(4, seed=4),
    "v": np.abs(random(4, seed=5)) + 0.5,
    "s": np.array([1, 1, 2, 2], np.float32),
}
CASES = {
    "batchnorm_7": (7, "BatchNormalization<spatial = 1>(Relu0, g, b, m, v)"),
    "upsample_7": (7, "Upsample<scales = [1.0, 1.0, 2.0, 2.0]>(x)"),
    "upsample_9": (9, 'Upsample<mode = "linear">(x, s)'),
    "resize_10": (10, 'Resize<mode = "nearest">(x, s)'),
    "resize_linear_10": (10, 'Resize<mode = "linear">(x, s)'),
    "slice_9": (9, "Slice<axes = [2, 3], starts = [1, -4], ends = [100, -1]>(x)"),
    "pad_10": (10, "Pad<pads = [0,0,1,2,0,0,0,1], value = 0.5>(x)"),
    "pad_reflect_7": (7, 'Pad<pads = [0,0,1,2,0,0,0,1], mode = "reflect">(x)'),
    "clip_9": (9, "Clip<min = -0.5, max = 0.5>(x)"),
    "clip_one_side_7": (7, "Clip<max = 0.5>(x)"),
    "dropout_7": (7, "Dropout<ratio = 0.3>(x)"),
    "softmax_default_axis_11": (11, "Softmax(x)"),
    "softmax_axis_2_9": (9, "Softmax<axis = 2>(x)"),
    "softmax_last_12": (12, "Softmax<axis = 3>(x)"),
    "softmax_negative_11": (11, "LogSoftmax<axis = -2>(x)"),
    "reducesum_11": (11, "ReduceSum<axes = [2, 3], keepdims = 0>(x)"),
    "reducemean_13": (13, "ReduceMean<axes = [-1]>(x)"),
    "reduceall_17": (17, "ReduceMax<keepdims = 0>(x)"),
    "unsqueeze_11": (11, "Unsqueeze<axes = [0]>(x)"),
    "squeeze_7": (7, "Squeeze<axes = [0]>(U)"),
    "depthtospace_9": (9, "DepthToSpace<blocksize = 2>(x)"),
    "averagepool_7": (7, "AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x)"),
    "maxpool_8": (8, "MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x)"),
    "conv_7": (7, "Conv<pads = [1, 1, 1, 1]>(x, w)"),
    "hardswish_14": (14, "HardSwish(x)"),
    "relu_22": (22, "Relu(x)"),
    "conv_23": (23, "Conv(x, w)"),
    "reshape_23": (23, "Flatten(x)"),
}


@pytest.mark.parametrize("name", CASES)
def test_conversion_keeps_the_values(name: str) -> None:
    opset, call = CASES[name]
    prefix = ""
    if "Relu0" in call:
        prefix = "Relu0 = Relu(x)"
    if "(U)" in call:
        prefix = "U = Unsqueeze<axes = [0]>(x)"
    used = {k: a for k, a in CONSTANTS.items() if any(f"{sep}{k}{end}" in call for sep in " (" for end in ",)")}
    model = proto(f"(float[2,4,6,6] x) => (float y) {{ {prefix} y = {call} }}", opset, **used)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    result = load(model)
    assert result.model.opset_imports[""] == 21
    assert_same(model, result, {"x": X})


@pytest.mark.parametrize("opset", [7, 10, 12])
def test_topk_and_split(opset: int) -> None:
    k, constants = ("<k = 2>(a)", {}) if opset < 10 else ("(a, k)", {"k": np.array([2], np.int64)})
    text = f"""(float[2,6] x) => (float[2,2] y, int64[2,2] i, float[2,4] c) {{
      c, a = Split<axis = 1, split = [4, 2]>(x) y, i = TopK{k} }}"""
    model = proto(text, opset, **constants)
    assert_same(model, load(model), {"x": random(2, 6)})


def test_split_without_sizes() -> None:
    model = proto("(float[2,6] x) => (float[2,3] a, float[2,3] b) { a, b = Split<axis = 1>(x) }", 13)
    assert_same(model, load(model), {"x": random(2, 6)})


def test_training_batchnorm_is_refused() -> None:
    text = "(float[2,4,6,6] x) => (float[2,4,6,6] y, float[4] z) { y, z, zz = BatchNormalization(x, g, b, m, v) }"
    with pytest.raises(InputError, match="training mode"):
        normalize(graph(text, 9, **{k: CONSTANTS[k] for k in "gbmv"}))


def test_operator_newer_than_21_is_refused_by_name() -> None:
    text = "(float[2,3,4,8] x, float[2,3,1,8] u) => (float[2,3,4,8] y) { y = TensorScatter(x, u) }"
    with pytest.raises(InputError, match="TensorScatter"):
        normalize(graph(text, 24))


def test_a_newer_operator_that_the_target_knows_keeps_its_opset() -> None:
    before = graph("(float[2,4] x) => (float[2,4] y) { n = Identity(x) y = RMSNormalization(n, g) }", 23, g=random(4))
    after = normalize(before)
    assert ops(after) == ["RMSNormalization"] and after.model.opset_imports[""] == 23
    assert_same(before, after, {"x": random(2, 4)})
    relu = normalize(graph("(float[2,4] x) => (float[2,4] y) { y = Relu(x) }", 23))
    assert relu.model.opset_imports[""] == 21


def test_inside_of_a_constant_if_is_converted_too() -> None:
    text = """(float[2,4] x) => (float[2,1,4] y) {
      c = Constant<value = bool {1}>()
      y = If(c) <then_branch = a () => (float[2,1,4] p) { p = Unsqueeze<axes = [1]>(x) },
                 else_branch = b () => (float[2,4] q) { q = Neg(x) }>
    }"""
    model = proto(text, 11)
    result = load(model)
    assert ops(result) == ["Unsqueeze"]
    assert_same(model, result, {"x": random(2, 4)})
