"""Operators that compute each element from the elements at its place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as oir

from hexaquant.frontends.tflite.call import Call
from hexaquant.frontends.tflite.graph_writer import is_quantized

INTEGERS = frozenset({"int8", "uint8", "int16", "int32", "int64", "uint16", "uint32"})
Rule = Callable[[Call], oir.Value]


def same(op_type: str) -> Rule:
    """The ONNX operator that computes the same of all inputs."""

    def rule(call: Call) -> oir.Value:
        return call.op(op_type, *operands(call))

    return rule


def operands(call: Call) -> list[oir.Value]:
    """All inputs. A quantized constant gets the rank of the largest: move_transposes.py asks for it."""
    values = [call.input(i) for i in range(call.count)]
    largest = max(len(call.shape(value)) for value in values)
    for i, value in enumerate(values):
        missing = largest - len(call.shape(value))
        if missing and call.array(i) is not None and is_quantized(call.tensor(i)):
            values[i] = call.op("Unsqueeze", value, call.const(list(range(missing)), "int64"))
    return values


def negated(op_type: str) -> Rule:
    def rule(call: Call) -> oir.Value:
        return call.op("Not", call.op(op_type, call.input(0), call.input(1)))

    return rule


def clipped(low: float, high: float) -> Rule:
    def rule(call: Call) -> oir.Value:
        return call.op("Clip", call.input(0), call.const(low), call.const(high))

    return rule


def activated(call: Call, value: oir.Value, kind: str) -> oir.Value:
    """``value`` behind the activation that is fused into its operator."""
    if kind == "NONE":
        return value
    if kind == "RELU":
        return call.op("Relu", value)
    if kind == "TANH":
        return call.op("Tanh", value)
    if kind in ("RELU6", "RELU_N1_TO_1"):
        low, high = (0.0, 6.0) if kind == "RELU6" else (-1.0, 1.0)
        return call.op("Clip", value, call.const(low), call.const(high))
    raise call.refuse(f"ends in the activation {kind}, which is not supported")


def rsqrt(call: Call) -> oir.Value:
    return call.op("Reciprocal", call.op("Sqrt", call.input(0)))


def square(call: Call) -> oir.Value:
    return call.op("Mul", call.input(0), call.input(0))


def squared_difference(call: Call) -> oir.Value:
    difference = call.op("Sub", call.input(0), call.input(1))
    return call.op("Mul", difference, difference)


def add_n(call: Call) -> oir.Value:
    total = call.input(0)
    for index in range(1, call.count):
        total = call.op("Add", total, call.input(index))
    return total


def floor_div(call: Call) -> oir.Value:
    """Rounds towards minus infinity, integers too (ONNX's Div rounds them towards zero)."""
    a = call.input(0)
    b = call.input(1)
    if _integers(call):
        return call.op("Div", call.op("Sub", a, call.op("Mod", a, b)), b)
    return call.op("Floor", call.op("Div", a, b))


def floor_mod(call: Call) -> oir.Value:
    """The remainder of :func:`floor_div`: it has the divisor's sign."""
    a = call.input(0)
    b = call.input(1)
    if _integers(call):
        return call.op("Mod", a, b)
    return call.op("Sub", a, call.op("Mul", call.op("Floor", call.op("Div", a, b)), b))


def _integers(call: Call) -> bool:
    tensor = call.tensor(0)
    return tensor.kind in INTEGERS and not is_quantized(tensor)


def leaky_relu(call: Call) -> oir.Value:
    return call.op("LeakyRelu", call.input(0), alpha=float(call.option("alpha", 0.0)))


def gelu(call: Call) -> oir.Value:
    return call.op("Gelu", call.input(0), approximate="tanh" if call.option("approximate") else "none")


def cast(call: Call) -> oir.Value:
    """To the type of the output; of a quantized tensor the numbers are cast."""
    output = call.output()
    kind = "float32" if is_quantized(output) else output.kind
    if kind.startswith("complex") or kind in ("string", "resource", "variant"):
        raise call.refuse(f"casts to {kind}, which the target does not have")
    return call.op("Cast", call.input(0), to=oir.DataType.from_numpy(np.dtype(kind)))


def select(call: Call) -> oir.Value:
    """A condition of one axis chooses along the first axis of its operands."""
    condition = call.input(0)
    rank = len(call.shape(call.input(1)))
    if len(call.shape(condition)) == 1 and rank > 1:
        axes = call.const(list(range(1, rank)), "int64")
        condition = call.op("Unsqueeze", condition, axes)
    return call.op("Where", condition, call.input(1), call.input(2))


def zeros_like(call: Call) -> oir.Value:
    return call.op("Mul", call.input(0), call.const(0, np.dtype(call.tensor(0).kind)))


def fake_quant(call: Call) -> oir.Value:
    """A tensor on the grid of 2^bits steps from min to max, moved so that zero is one of them (Jacob et al., 2018)."""
    bits = int(call.option("num_bits", 8))
    low = min(float(call.option("min", 0.0)), 0.0)
    high = max(float(call.option("max", 0.0)), 0.0)
    if bits not in (8, 16) or low == high:
        raise call.refuse(f"quantizes to {bits} bits from {low} to {high}, which is not supported")
    least = 1 if call.option("narrow_range") else 0
    scale = (high - low) / (2**bits - 1 - least)
    dtype = np.uint8 if bits == 8 else np.uint16
    zero = int(np.clip(np.rint(least - low / scale), 0, 2**bits - 1))
    grid = [call.const(scale), call.const(zero, dtype)]
    return call.op("DequantizeLinear", call.op("QuantizeLinear", call.input(0), *grid), *grid)
