"""Operators that multiply by fixed matrices become layers that do: DFT, STFT, Col2Im. Every one is exact.

1. DFT: MatMul with the matrix of cosines and sines, real and imaginary part as one axis. An imaginary part of zeros is
   left out of it.
2. STFT: Conv with cosines and sines under the window, one kernel for each part of each frequency.
3. Col2Im: where blocks lie side by side, a Reshape, a Transpose and a Reshape; where they overlap, ConvTranspose with
   one kernel for each place in a block, 1 there and 0 elsewhere.

Legal when the lengths, the axis, the window and the shapes are constants, and the transformed axis has a known size. An
inverse DFT that is one-sided stays as it is. Source: ONNX Operators.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as oir
import sympy

from hexaquant.ir.edit import int_attribute, ints_attribute
from hexaquant.ir.emitter import Emitter, free_dims
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.symbolic import dims_of


def fixed_products(graph: Graph) -> int:
    """Returns the number of operators rewritten."""
    forms = {"DFT": _dft, "STFT": _stft, "Col2Im": _col2im}
    changed = 0
    for node in graph.nodes:
        if node.domain == "" and node.op_type in forms:
            changed += forms[node.op_type](node)
    return changed


def _scalar(node: oir.Node, index: int, default: int) -> int | None:
    """A constant input as a number; ``default`` where it is absent, None where it is computed."""
    value = node.inputs[index] if len(node.inputs) > index else None
    data = constant(value)
    if value is None:
        return default
    return None if data is None else int(data.reshape(-1)[0])


def fourier(length: int, bins: int, period: int, parts: int, inverse: bool = False) -> np.ndarray:
    """(length, parts, bins, 2): what part p (real, imaginary) of x[t] gives to both parts of X[k], t and k by position.

    X[k] = sum over t of x[t] e^(-2 pi i k t / period); of the inverse e^(+...) / period.
    """
    turns = np.outer(np.arange(length), np.arange(bins)) % period / period
    angle = (1 if inverse else -1) * 2 * np.pi * turns
    real = np.stack([np.cos(angle), np.sin(angle)], -1)
    imaginary = np.stack([-np.sin(angle), np.cos(angle)], -1)
    matrix = np.stack([real, imaginary][:parts], 1)
    return (matrix / period if inverse else matrix).astype(np.float32)


def _dft(node: oir.Node) -> bool:
    source = _without_zeros(node.inputs[0])
    dims = free_dims(source) if source is not None else None
    axis = _scalar(node, 2, -2)
    inverse = bool(int_attribute(node, "inverse", 0))
    onesided = bool(int_attribute(node, "onesided", 0))
    if source is None or not dims or axis is None or (inverse and onesided):
        return False
    axis %= len(dims)
    if axis == len(dims) - 1 or not (dims[axis].is_Integer and dims[-1].is_Integer):
        return False
    size = int(dims[axis])
    parts = int(dims[-1])
    period = _scalar(node, 1, size)
    if period is None:
        return False
    bins = period // 2 + 1 if onesided else period
    matrix = fourier(size, bins, period, parts, inverse)
    matrix[period:] = 0  # a shorter transform reads no more than its length
    _multiply(node, source, axis, matrix.reshape(size * parts, bins * 2))
    return True


def _without_zeros(source: oir.Value | None) -> oir.Value | None:
    """The real part where ``source`` is a Concat of it with zeros (a real tensor made complex), else ``source``."""
    join = source.producer() if source is not None else None
    if join is None or join.op_type != "Concat" or len(join.inputs) != 2:
        return source
    real, imaginary = join.inputs
    rank = len(dims_of(source) or ())
    last = int_attribute(join, "axis", 0) in (-1, rank - 1)
    return real if last and (dims_of(real) or [0])[-1] == 1 and _is_zero(imaginary) else source


def _is_zero(value: oir.Value | None) -> bool:
    data = constant(value)
    if data is not None:
        return not data.any()
    node = value.producer() if value is not None else None
    return node is not None and node.op_type == "Expand" and _is_zero(node.inputs[0])


def _multiply(node: oir.Node, source: oir.Value, axis: int, matrix: np.ndarray) -> None:
    """The axes ``axis`` and last of ``source``, merged, times ``matrix`` (n, 2 m); ``axis`` is of length m then."""
    emit = Emitter(node)
    name = node.outputs[0].name or "dft"
    rank = len(free_dims(source) or ())
    order = [*(a for a in range(rank - 1) if a != axis), axis, rank - 1]
    turned = emit.transposed(source, order, f"{name}_turned")
    others = (free_dims(turned) or [])[:-2]
    rows, columns = matrix.shape
    flat = emit.reshaped(turned, [*others, sympy.Integer(rows)], f"{name}_flat")
    value = emit.op("MatMul", [flat, emit.constant(f"{name}_matrix", matrix)], f"{name}_product")
    value = emit.reshaped(value, [*others, sympy.Integer(columns // 2), sympy.Integer(2)], f"{name}_parts")
    emit.finish(emit.transposed(value, np.argsort(order).tolist(), f"{name}_back"))


def _stft(node: oir.Node) -> bool:
    signal = node.inputs[0]
    dims = free_dims(signal) if signal is not None else None
    given = node.inputs[2] if len(node.inputs) > 2 else None
    window = constant(given)
    step = _scalar(node, 1, 0)
    length = _scalar(node, 3, 0 if window is None else window.size)
    real = dims is not None and (len(dims) == 2 or (len(dims) == 3 and dims[2] == 1))
    if signal is None or not dims or not real or not step or not length or (given is not None and window is None):
        return False
    bins = length // 2 + 1 if int_attribute(node, "onesided", 1) else length
    kernels = fourier(length, bins, length, 1).reshape(length, 2 * bins).T
    kernels = kernels * (1 if window is None else window.reshape(-1)[:length])
    emit = Emitter(node)
    name = node.outputs[0].name or "stft"
    row = emit.reshaped(signal, [dims[0], sympy.Integer(1), dims[1]], f"{name}_row")
    weight = emit.constant(f"{name}_kernels", kernels[:, None].astype(np.float32))
    found = emit.op("Conv", [row, weight], f"{name}_frames", kernel_shape=[length], strides=[step])
    turned = emit.transposed(found, [0, 2, 1], f"{name}_turned")
    last = [sympy.Integer(bins), sympy.Integer(2)]
    emit.finish(emit.reshaped(turned, [*(free_dims(turned) or [])[:2], *last], f"{name}_parts"))
    return True


def _col2im(node: oir.Node) -> bool:
    source = node.inputs[0]
    dims = free_dims(source) if source is not None else None
    image = constant(node.inputs[1])
    block = constant(node.inputs[2])
    if source is None or not dims or image is None or block is None or not all(d.is_Integer for d in dims[1:]):
        return False
    kernel = [int(k) for k in block]
    size = [int(s) for s in image]
    rank = len(kernel)
    steps = ints_attribute(node, "strides") or [1] * rank
    spread = ints_attribute(node, "dilations") or [1] * rank
    pads = ints_attribute(node, "pads") or [0] * (2 * rank)
    ends = list(zip(pads[:rank], pads[rank:], strict=True))
    spans = [d * (k - 1) + 1 for d, k in zip(spread, kernel, strict=True)]
    counts = [(s + sum(p) - n) // t + 1 for s, p, n, t in zip(size, ends, spans, steps, strict=True)]
    places = math.prod(kernel)
    channels = int(dims[1]) // places
    tiled = steps == kernel and not any(pads) and size == [c * k for c, k in zip(counts, kernel, strict=True)]
    if tiled and all(d == 1 for d in spread):
        _side_by_side(node, source, [dims[0], sympy.Integer(channels)], kernel, counts)
        return True
    emit = Emitter(node)
    name = node.outputs[0].name or "image"
    maps = emit.reshaped(source, [dims[0], dims[1], *map(sympy.Integer, counts)], f"{name}_maps")
    ones = np.tile(np.eye(places, dtype=np.float32).reshape(places, 1, *kernel), (channels, 1, *[1] * rank))
    reached = [(c - 1) * t + n for c, t, n in zip(counts, steps, spans, strict=True)]
    beyond = [s + sum(p) - r for s, p, r in zip(size, ends, reached, strict=True)]
    attributes: dict[str, Any] = {
        "strides": steps,
        "dilations": spread,
        "pads": pads,
        "group": channels,
        "kernel_shape": kernel,
    }
    weight = emit.constant(f"{name}_places", ones)
    emit.finish(emit.op("ConvTranspose", [maps, weight], f"{name}_summed", output_padding=beyond, **attributes))
    return True


def _side_by_side(
    node: oir.Node, source: oir.Value, first: list[sympy.Expr], kernel: list[int], counts: list[int]
) -> None:
    """Blocks of ``kernel`` that do not overlap, ``counts`` of them along each axis; ``first``: batch and channels."""
    emit = Emitter(node)
    name = node.outputs[0].name or "image"
    rank = len(kernel)
    split = emit.reshaped(source, [*first, *map(sympy.Integer, [*kernel, *counts])], f"{name}_blocks")
    pairs = [axis for i in range(rank) for axis in (2 + rank + i, 2 + i)]
    turned = emit.transposed(split, [0, 1, *pairs], f"{name}_turned")
    whole = [sympy.Integer(c * k) for c, k in zip(counts, kernel, strict=True)]
    emit.finish(emit.reshaped(turned, [*first, *whole], f"{name}_whole"))
