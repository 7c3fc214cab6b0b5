"""Reductions, normalizations and what looks for the largest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as oir

from hexaquant.frontends.tflite.call import Call
from hexaquant.frontends.tflite.schema import TYPES

Rule = Callable[[Call], oir.Value]


def reduced(op_type: str) -> Rule:
    """A reduction over the axes of input 1."""

    def rule(call: Call) -> oir.Value:
        axes = call.const(call.ints(1), "int64")
        return call.op(op_type, call.input(0), axes, keepdims=int(bool(call.option("keep_dims"))))

    return rule


def reduced_bools(op_type: str) -> Rule:
    """REDUCE_ANY is the largest of 0 and 1, REDUCE_ALL the smallest."""

    def rule(call: Call) -> oir.Value:
        numbers = call.op("Cast", call.input(0), to=oir.DataType.FLOAT)
        axes = call.const(call.ints(1), "int64")
        found = call.op(op_type, numbers, axes, keepdims=int(bool(call.option("keep_dims"))))
        return call.op("Cast", found, to=oir.DataType.BOOL)

    return rule


def arg(op_type: str) -> Rule:
    """The first place of the largest or smallest along the axis of input 1."""

    def rule(call: Call) -> oir.Value:
        found = call.op(op_type, call.input(0), axis=call.ints(1)[0], keepdims=0)
        return _as(call, found, TYPES[call.option("output_type", 2)])

    return rule


def _as(call: Call, value: oir.Value, kind: str) -> oir.Value:
    """int64 numbers in the type ``kind``."""
    if kind == "int64":
        return value
    return call.op("Cast", value, to=oir.DataType.from_numpy(np.dtype(kind)))


def top_k(call: Call) -> list[oir.Value]:
    k = call.const(call.ints(1)[:1], "int64")
    values, places = call.writer.ops("TopK", [call.input(0), k], 2, axis=-1)
    return [values, _as(call, places, call.output(1).kind)]


def softmax(call: Call) -> oir.Value:
    x = call.input(0)
    beta = float(call.option("beta", 1.0))
    return call.op("Softmax", x if beta == 1.0 else call.op("Mul", x, call.const(beta)), axis=-1)


def log_softmax(call: Call) -> oir.Value:
    return call.op("LogSoftmax", call.input(0), axis=-1)


def l2_normalization(call: Call) -> oir.Value:
    """Along the last axis."""
    return call.op("LpNormalization", call.input(0), axis=-1, p=2)


def local_response_normalization(call: Call) -> oir.Value:
    """x / (bias + alpha * sum of the squares of 2 radius + 1 channels)^beta; ONNX divides alpha by that number."""
    size = 2 * int(call.option("radius", 5)) + 1
    attributes = {"bias": call.option("bias", 1.0), "beta": call.option("beta", 0.5)}
    alpha = float(call.option("alpha", 1.0)) * size
    return call.nhwc(call.op("LRN", call.nchw(call.input(0)), size=size, alpha=alpha, **attributes))


def cumsum(call: Call) -> oir.Value:
    axis = call.const(call.ints(1)[0], "int64")
    flags = {name: int(bool(call.option(name))) for name in ("exclusive", "reverse")}
    return call.op("CumSum", call.input(0), axis, **flags)
