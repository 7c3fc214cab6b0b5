"""Integers with a scale and a zero point as the numbers that they stand for: ONNX's DequantizeLinear in numpy.

The numbers remember the steps between them, so that a weight keeps the encoding that it came with (sim/from_file.py).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as oir

from hexaquant.ir.edit import int_attribute
from hexaquant.ir.graph import constant

Array = npt.NDArray[Any]

STEPS = "hexaquant.steps"
"""Metadata key of a constant that came as integers: the step between them, or that of each channel (JSON)."""


def with_steps(value: oir.Value, scale: Array) -> oir.Value:
    """``value``, a constant made of integers, with its scale noted; not with one scale per block of an axis."""
    if scale.ndim < 2 or scale.size == 1:
        value.metadata_props[STEPS] = json.dumps([float(step) for step in scale.reshape(-1)])
    return value


def steps_of(value: oir.Value) -> Array | None:
    """float32 (1,) or (channels,): the steps noted by :func:`with_steps`; None for what was never integers."""
    text = value.metadata_props.get(STEPS)
    return None if text is None else np.asarray(json.loads(text), np.float32)


def dequantized(q: Array, scale: Array, zero: Array | None = None, axis: int = 1, block: int = 0) -> Array:
    """(q - zero) * scale, float32. ``scale`` and ``zero``: one number, one along ``axis``, or one per block of it."""
    wide = q.astype(np.float64)
    shift = np.zeros(()) if zero is None else zero.astype(np.float64)
    return ((wide - _spread(shift, q, axis, block)) * _spread(scale.astype(np.float64), q, axis, block)).astype(
        np.float32
    )


def _spread(numbers: Array, like: Array, axis: int, block: int) -> Array:
    if numbers.size == 1:
        return numbers.reshape(())
    if block or numbers.ndim == like.ndim:
        return np.repeat(numbers, block, axis=axis).take(range(like.shape[axis]), axis) if block else numbers
    shape = [1] * like.ndim
    shape[axis] = numbers.size
    return numbers.reshape(shape)


def dequantized_constant(node: oir.Node) -> Array | None:
    """What a DequantizeLinear of constants computes; None when one of its inputs is not constant."""
    values = [constant(v) for v in node.inputs]
    if values[0] is None or values[1] is None or (len(values) > 2 and node.inputs[2] is not None and values[2] is None):
        return None
    zero = values[2] if len(values) > 2 else None
    return dequantized(values[0], values[1], zero, int_attribute(node, "axis", 1), int_attribute(node, "block_size", 0))


def on_grid(x: Array, scale: Array, zero: Array, axis: int) -> Array:
    """The numbers that ``x`` becomes by QuantizeLinear and DequantizeLinear; ``zero`` has the integer type."""
    limits = np.iinfo(zero.dtype)
    step = _spread(scale.astype(np.float64), x, axis, 0)
    shift = _spread(zero.astype(np.float64), x, axis, 0)
    q = np.clip(np.rint(x.astype(np.float64) / step) + shift, limits.min, limits.max)
    return ((q - shift) * step).astype(np.float32)
