"""Fourier transforms: complex tensors as two real ones, transforms as products with constant matrices."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.frontends.tflite.call import Call
from hexaquant.frontends.tflite.graph_writer import Complex


def rfft_2d(call: Call) -> Complex:
    """Inputs: x (..., H, W) real, (height, width) of the transform; the output is (..., height, width / 2 + 1).

    Along W: x C - i x S for C = cos(2 pi j k / width); along H the same from the left, unless height is 1.
    """
    height, width = call.ints(1)
    x = _fitted(call, call.input(0), height, width)
    cosine, sine = _matrices(width)
    half = width // 2 + 1
    real = call.op("MatMul", x, call.const(cosine[:, :half]))
    imaginary = call.op("MatMul", x, call.const(-sine[:, :half]))
    if height == 1:
        return Complex(real, imaginary)
    cosine, sine = _matrices(height)
    c = call.const(cosine)
    s = call.const(sine)
    over = call.op("Add", call.op("MatMul", c, real), call.op("MatMul", s, imaginary))
    under = call.op("Sub", call.op("MatMul", c, imaginary), call.op("MatMul", s, real))
    return Complex(over, under)


def _fitted(call: Call, x: oir.Value, height: int, width: int) -> oir.Value:
    """``x`` cut or padded with zeros to the size of the transform."""
    rank = len(call.shape(x))
    before = [call.size(x, rank - 2), call.size(x, rank - 1)]
    axes = call.const([rank - 2, rank - 1], "int64")
    if before[0] > height or before[1] > width:
        x = call.op("Slice", x, call.const([0, 0], "int64"), call.const([height, width], "int64"), axes)
    missing = [max(height - before[0], 0), max(width - before[1], 0)]
    if not any(missing):
        return x
    pads = [0] * (2 * rank - 2) + missing
    return call.op("Pad", x, call.const(pads, "int64"))


def _matrices(size: int) -> tuple[np.ndarray, np.ndarray]:
    angles = 2 * np.pi * (np.outer(np.arange(size), np.arange(size)) % size) / size
    return np.cos(angles), np.sin(angles)


def _complex(call: Call) -> Complex:
    found = call.found(0)
    if not isinstance(found, Complex):
        raise call.refuse("reads a real tensor as a complex one")
    return found


def real(call: Call) -> oir.Value:
    return call.op("Identity", _complex(call).real)


def imaginary(call: Call) -> oir.Value:
    return call.op("Identity", _complex(call).imaginary)


def magnitude(call: Call) -> oir.Value:
    found = _complex(call)
    squares = [call.op("Mul", part, part) for part in (found.real, found.imaginary)]
    return call.op("Sqrt", call.op("Add", *squares))
