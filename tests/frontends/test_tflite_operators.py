"""Every operator of TensorFlow Lite that is read computes what TensorFlow Lite's interpreter computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frontends.tflite_networks import computed, converted, imported, interpreted, normal
from hexaquant.frontends.tflite.model_file import read_subgraphs
from hexaquant.ir.executor.build import build_module

Builder = Callable[[Any, Any], Any]
IMAGE = (1, 8, 6, 4)


def _kernel(*shape: int) -> np.ndarray:
    return normal(*shape, seed=7) / np.float32(np.sqrt(np.prod(shape[:-1])))


CASES: dict[str, tuple[Builder, tuple[int, ...]]] = {
    "CONV_2D": (lambda tf, x: tf.nn.relu6(tf.nn.conv2d(x, _kernel(3, 2, 4, 5), 2, "SAME") + 0.1), IMAGE),
    "CONV_2D dilated": (lambda tf, x: tf.nn.conv2d(x, _kernel(3, 3, 4, 5), 1, "SAME", dilations=2), IMAGE),
    "CONV_2D grouped": (lambda tf, x: tf.nn.conv2d(x, _kernel(3, 3, 2, 6), 1, "VALID"), IMAGE),
    "DEPTHWISE_CONV_2D": (
        lambda tf, x: tf.nn.depthwise_conv2d(x, _kernel(3, 3, 4, 2), [1, 2, 2, 1], "SAME") + 0.5,
        IMAGE,
    ),
    "DEPTHWISE_CONV_2D dilated": (
        lambda tf, x: tf.nn.depthwise_conv2d(x, _kernel(3, 3, 4, 1), [1, 1, 1, 1], "SAME", dilations=[2, 2]),
        IMAGE,
    ),
    "TRANSPOSE_CONV": (
        lambda tf, x: tf.nn.conv2d_transpose(x, _kernel(3, 3, 5, 4), (1, 16, 12, 5), 2, "SAME") + normal(5),
        IMAGE,
    ),
    "TRANSPOSE_CONV valid": (
        lambda tf, x: tf.nn.conv2d_transpose(x, _kernel(2, 3, 5, 4), (1, 16, 13, 5), 2, "VALID"),
        IMAGE,
    ),
    "CONV_3D": (lambda tf, x: tf.nn.conv3d(x, _kernel(2, 3, 3, 2, 3), [1, 1, 2, 1, 1], "SAME"), (1, 4, 6, 5, 2)),
    "FULLY_CONNECTED": (lambda tf, x: tf.nn.relu(tf.matmul(tf.reshape(x, (1, -1)), _kernel(192, 7)) + 0.3), IMAGE),
    "FULLY_CONNECTED kept": (lambda tf, x: tf.matmul(x, _kernel(4, 7)), (1, 5, 4)),
    "BATCH_MATMUL": (lambda tf, x: tf.matmul(x, x, transpose_b=True), (1, 5, 4)),
    "MAX_POOL_2D": (lambda tf, x: tf.nn.max_pool2d(x, 3, 2, "SAME"), IMAGE),
    "AVERAGE_POOL_2D": (lambda tf, x: tf.nn.avg_pool2d(x, 3, 2, "SAME"), IMAGE),
    "ADD": (lambda tf, x: tf.nn.relu(x + normal(1, 1, 4)), IMAGE),
    "SUB": (lambda tf, x: x - normal(1, 1, 4), IMAGE),
    "MUL": (lambda tf, x: x * tf.reduce_mean(x, [1, 2], keepdims=True), IMAGE),
    "DIV": (lambda tf, x: x / (tf.abs(x) + 0.5), IMAGE),
    "POW": (lambda tf, x: tf.pow(tf.abs(x) + 0.1, 1.7), IMAGE),
    "MAXIMUM MINIMUM": (lambda tf, x: tf.minimum(tf.maximum(x, -0.2), x * 0.5), IMAGE),
    "ADD_N": (lambda tf, x: tf.add_n([x, x * x, tf.abs(x)]), IMAGE),
    "SQUARED_DIFFERENCE": (lambda tf, x: tf.math.squared_difference(x, normal(4)), IMAGE),
    "FLOOR_DIV FLOOR_MOD": (lambda tf, x: tf.math.floordiv(x, 0.3) + tf.math.floormod(x, 0.7), IMAGE),
    "EXP LOG SQRT": (lambda tf, x: tf.exp(tf.math.log(tf.sqrt(tf.abs(x) + 0.1)) * 0.5), IMAGE),
    "RSQRT SQUARE NEG": (lambda tf, x: -tf.math.rsqrt(tf.square(x) + 0.1), IMAGE),
    "SIN COS": (lambda tf, x: tf.sin(x) + tf.cos(x * 2), IMAGE),
    "FLOOR CEIL ROUND SIGN": (
        lambda tf, x: tf.floor(x) + tf.math.ceil(x * 2) + tf.round(x * 3) + tf.sign(x),
        IMAGE,
    ),
    "LOGISTIC TANH": (lambda tf, x: tf.sigmoid(x) * tf.tanh(x), IMAGE),
    "ELU LEAKY_RELU": (lambda tf, x: tf.nn.elu(x) + tf.nn.leaky_relu(x, 0.3), IMAGE),
    "GELU": (lambda tf, x: tf.nn.gelu(x) + tf.nn.gelu(x * 2, approximate=True), IMAGE),
    "HARD_SWISH": (lambda tf, x: x * tf.nn.relu6(x + 3) * (1 / 6), IMAGE),
    "EQUAL SELECT": (lambda tf, x: tf.where(tf.equal(tf.round(x), 0.0), x, -x), IMAGE),
    "SELECT_V2": (lambda tf, x: tf.where(x[:, :1] > 0, x, 0.5), IMAGE),
    "LESS GREATER_EQUAL LOGICAL_AND LOGICAL_OR": (
        lambda tf, x: tf.cast(tf.logical_or(tf.logical_and(x < 0.5, x >= -1), tf.logical_not(x <= 1)), tf.float32),
        IMAGE,
    ),
    "NOT_EQUAL CAST": (lambda tf, x: tf.cast(tf.not_equal(tf.cast(x, tf.int32), 0), tf.float32), IMAGE),
    "MEAN SUM": (lambda tf, x: tf.reduce_mean(x, [1, 2]) + tf.reduce_sum(x, [1, 2]), IMAGE),
    "REDUCE_MAX REDUCE_MIN": (lambda tf, x: tf.reduce_max(x, -1, keepdims=True) - tf.reduce_min(x, 2, True), IMAGE),
    "REDUCE_PROD": (lambda tf, x: tf.reduce_prod(x, -1), IMAGE),
    "REDUCE_ANY": (lambda tf, x: tf.cast(tf.reduce_any(x > 1, 1), tf.float32), IMAGE),
    "REDUCE_ALL": (lambda tf, x: tf.cast(tf.reduce_all(x < 1, 1), tf.float32), IMAGE),
    "ARG_MAX ARG_MIN": (lambda tf, x: tf.argmax(x, -1) + tf.argmin(x, -1), IMAGE),
    "TOPK_V2": (lambda tf, x: tf.math.top_k(x, 3), (1, 12)),
    "SOFTMAX": (lambda tf, x: tf.nn.softmax(x), (1, 12)),
    "LOG_SOFTMAX": (lambda tf, x: tf.nn.log_softmax(x), (1, 12)),
    "L2_NORMALIZATION": (lambda tf, x: tf.math.l2_normalize(x, -1), (1, 12)),
    "LOCAL_RESPONSE_NORMALIZATION": (lambda tf, x: tf.nn.local_response_normalization(x, 2, 1.5, 0.7, 0.6), IMAGE),
    "CUMSUM": (lambda tf, x: tf.cumsum(x, 2) + tf.cumsum(x, 1, exclusive=True, reverse=True), IMAGE),
    "RESHAPE TRANSPOSE": (lambda tf, x: tf.reshape(tf.transpose(x, [0, 2, 3, 1]), (1, 24, 8)), IMAGE),
    "CONCATENATION": (lambda tf, x: tf.concat([x, x * x], -1), IMAGE),
    "PACK UNPACK": (lambda tf, x: tf.stack(tf.unstack(x, axis=2)[::-1], 1), IMAGE),
    "SPLIT": (lambda tf, x: tf.split(x, 2, 3), IMAGE),
    "SPLIT_V": (lambda tf, x: tf.split(x, [1, 5, 2], 1), IMAGE),
    "SLICE": (lambda tf, x: tf.slice(x, [0, 1, 2, 0], [1, 4, -1, 3]), IMAGE),
    "STRIDED_SLICE": (lambda tf, x: x[:, 1:-1:2, ::-1, tf.newaxis, 2], IMAGE),
    "STRIDED_SLICE ellipsis": (lambda tf, x: x[..., tf.newaxis, -2:], IMAGE),
    "GATHER": (lambda tf, x: tf.gather(x, [2, 0, 3], axis=3), IMAGE),
    "GATHER batched": (lambda tf, x: tf.gather(x, np.array([[2, 0, 3]]), axis=1, batch_dims=1), (1, 8, 3)),
    "GATHER_ND": (lambda tf, x: tf.gather_nd(x, [[0, 1], [0, 5]]), IMAGE),
    "TILE": (lambda tf, x: tf.tile(x, [1, 2, 1, 3]), IMAGE),
    "BROADCAST_TO": (lambda tf, x: tf.broadcast_to(x[:, :1], (1, 8, 6, 4)), IMAGE),
    "PAD": (lambda tf, x: tf.pad(x, [[0, 0], [1, 2], [0, 3], [0, 0]]), IMAGE),
    "PADV2": (lambda tf, x: tf.pad(x, [[0, 0], [1, 2], [0, 3], [0, 0]], constant_values=-3.0), IMAGE),
    "MIRROR_PAD": (
        lambda tf, x: tf.pad(
            tf.pad(x, [[0, 0], [2, 1], [3, 0], [0, 0]], "REFLECT"), [[0, 0], [1, 1], [0, 1], [0, 0]], "SYMMETRIC"
        ),
        IMAGE,
    ),
    "REVERSE_V2": (lambda tf, x: tf.reverse(x, [1, 2]), IMAGE),
    "DEPTH_TO_SPACE": (lambda tf, x: tf.nn.depth_to_space(x, 2), IMAGE),
    "SPACE_TO_DEPTH": (lambda tf, x: tf.nn.space_to_depth(x, 2), IMAGE),
    "ONE_HOT": (lambda tf, x: tf.one_hot(tf.argmax(x, -1), 4, 2.0, -1.0), IMAGE),
    "SCATTER_ND": (lambda tf, x: tf.scatter_nd([[1], [3], [1]], x[0, :3], [6, 6, 4]), IMAGE),
    "RESIZE_BILINEAR": (lambda tf, x: tf.image.resize(x, (16, 9)), IMAGE),
    "RESIZE_BILINEAR corners": (
        lambda tf, x: tf.compat.v1.image.resize_bilinear(x, (15, 11), align_corners=True),
        IMAGE,
    ),
    "RESIZE_BILINEAR plain": (lambda tf, x: tf.compat.v1.image.resize_bilinear(x, (16, 12)), IMAGE),
    "RESIZE_NEAREST_NEIGHBOR": (lambda tf, x: tf.image.resize(x, (16, 9), method="nearest"), IMAGE),
    "RESIZE_NEAREST_NEIGHBOR plain": (lambda tf, x: tf.compat.v1.image.resize_nearest_neighbor(x, (16, 9)), IMAGE),
    "RESIZE_NEAREST_NEIGHBOR corners": (
        lambda tf, x: tf.compat.v1.image.resize_nearest_neighbor(x, (15, 11), align_corners=True),
        IMAGE,
    ),
    "SPACE_TO_BATCH_ND": (lambda tf, x: tf.space_to_batch(x, [2, 3], [[1, 1], [0, 0]]) * 2, IMAGE),
    "BATCH_TO_SPACE_ND": (
        lambda tf, x: tf.batch_to_space(tf.space_to_batch(x, [2, 2], [[0, 0], [0, 0]]) * 2, [2, 2], [[1, 0], [0, 2]]),
        IMAGE,
    ),
    "RFFT2D COMPLEX_ABS": (lambda tf, x: tf.abs(tf.signal.rfft(x, [32])), (1, 5, 24)),
    "RFFT2D REAL IMAG": (
        lambda tf, x: tf.math.real(tf.signal.rfft2d(x)) + 2 * tf.math.imag(tf.signal.rfft2d(x)),
        (1, 8, 16),
    ),
    "GATHER embedding": (lambda tf, x: tf.nn.embedding_lookup(normal(4, 5), tf.argmax(x, -1)), (1, 7, 4)),
    "QUANTIZE": (lambda tf, x: tf.quantization.fake_quant_with_min_max_args(x, -1.5, 2.0), IMAGE),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operator_computes_what_the_interpreter_computes(tmp_path: Path, name: str) -> None:
    import tensorflow as tf

    build, shape = CASES[name]
    data = converted(lambda x: build(tf, x), [tf.TensorSpec(shape, tf.float32, name="x")])
    kinds = {operator.kind for operator in read_subgraphs(data)[0].operators}
    assert {word for word in name.split() if word.isupper()} <= kinds, kinds  # else the case would test nothing
    x = normal(*shape, seed=1)
    wanted = interpreted(data, [x])[0]
    graph = imported(tmp_path, data)
    got = computed(graph, [x])
    assert len(wanted) == len(got)
    for one, other in zip(wanted, got, strict=True):
        assert one.shape == other.shape
        # TensorFlow Lite's float kernels sum in another order, and approximate exp and tanh
        assert np.abs(one.astype(np.float64) - other).max() <= 2e-5 * max(1.0, np.abs(one).max())


FREE: dict[str, tuple[Builder, tuple[int, ...]]] = {
    "FULLY_CONNECTED RESHAPE": (lambda tf, x: tf.matmul(tf.reshape(x, (tf.shape(x)[0], -1)), _kernel(192, 7)), IMAGE),
    "SHAPE FILL": (lambda tf, x: tf.concat([x[:, 0, 0], tf.fill([tf.shape(x)[0], 2], 3.0)], 1), IMAGE),
    "EXPAND_DIMS": (lambda tf, x: tf.expand_dims(tf.squeeze(x[:, :1], 1), 3), IMAGE),
    "RESIZE_BILINEAR": (lambda tf, x: tf.image.resize(x, (16, 12)), IMAGE),
    "CONV_2D": (lambda tf, x: tf.nn.conv2d(x, _kernel(3, 3, 4, 5), 2, "SAME"), IMAGE),
    "BROADCAST_TO": (lambda tf, x: tf.broadcast_to(normal(1, 1, 6), tf.stack([tf.shape(x)[0], 2, 6])), IMAGE),
}


@pytest.mark.parametrize("name", FREE)
def test_a_free_batch_stays_free(tmp_path: Path, name: str) -> None:
    import tensorflow as tf

    build, shape = FREE[name]
    data = converted(lambda x: build(tf, x), [tf.TensorSpec((None, *shape[1:]), tf.float32, name="x")])
    kinds = {operator.kind for operator in read_subgraphs(data)[0].operators}
    assert {word for word in name.split() if word.isupper()} <= kinds, kinds
    x = normal(3, *shape[1:], seed=1)
    wanted = np.concatenate([interpreted(data, [row[None]])[0][0] for row in x])
    graph = imported(tmp_path, data)
    assert list(graph.inputs[0].shape)[1:] == list(shape[1:])
    with torch.no_grad():
        got = build_module(graph)(torch.from_numpy(x)).numpy()
    assert np.abs(wanted - got).max() <= 2e-5 * max(1.0, np.abs(wanted).max())
