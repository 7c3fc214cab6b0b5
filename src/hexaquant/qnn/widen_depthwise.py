"""Depthwise convolutions of kernel 1 x 1 get a second tap of zeros where the target cannot build them.

Release 2.7.0 fails to prepare such a layer ("could not create op") when its output leaves the network, or reaches it
through elementwise operators: on v68 and v69 with 8-bit activations, and everywhere with strides of 3 and more. Before
another layer it runs. With a kernel of 1 x 2, whose second column is zero and reads the padding at the right border,
it runs in every place and computes the same sums. It costs one more product an output element.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as oir

from hexaquant.ir.edit import set_constant, sole_consumer

FIRST_EXACT_ARCH = 73
"""The architecture from which on kernel 1 runs in every place unless its stride is 3 or more."""


def widen_depthwise(model: oir.Model, arch: int) -> int:
    """Widen, in place, every layer of ``model`` (QDQ) for which all of these hold; returns how many.

    1. a Conv of rank 4 with one input channel a group, a kernel of 1 x 1, undilated, with explicit padding;
    2. its stride is 3 or more, or ``arch`` is before v73 and it reads 8-bit activations;
    3. its weight is a constant behind a DequantizeLinear (and a QuantizeLinear) with zero points 0, read by it only.
    """
    changed = 0
    for node in model.graph:
        chain = _weight_chain(node) if _is_concerned(node, arch) else []
        if not chain:
            continue
        _widen(node, chain)
        changed += 1
    return changed


def _is_concerned(node: oir.Node, arch: int) -> bool:
    weight = node.inputs[1] if node.op_type == "Conv" else None
    shape = None if weight is None or weight.shape is None else tuple(weight.shape)
    if shape is None or shape[1:] != (1, 1, 1) or node.attributes.get_int("group", 1) < 2:
        return False
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET" or max(_ints(node, "dilations", 1)) > 1:
        return False
    if max(_ints(node, "strides", 1)) > 2:
        return True
    return arch < FIRST_EXACT_ARCH and _reads_8_bits(node.inputs[0])


def _ints(node: oir.Node, name: str, default: int) -> tuple[int, ...]:
    attribute = node.attributes.get(name)
    return (default,) if attribute is None else tuple(attribute.as_ints())


def _reads_8_bits(value: oir.Value | None) -> bool:
    dequantize = None if value is None else value.producer()
    stored = dequantize.inputs[0] if dequantize is not None and dequantize.op_type == "DequantizeLinear" else None
    return stored is not None and stored.dtype in (oir.DataType.UINT8, oir.DataType.INT8)


def _weight_chain(node: oir.Node) -> list[oir.Value]:
    """From the weight that ``node`` reads back to the constant; empty where condition 3 does not hold."""
    chain, value = [], node.inputs[1]
    while value is not None and sole_consumer(value) is not None:
        chain.append(value)
        if value.is_initializer() and value.const_value is not None:
            return chain if len(chain) > 1 else []
        step = value.producer()
        if step is None or step.op_type not in ("DequantizeLinear", "QuantizeLinear") or not _is_symmetric(step):
            return []
        value = step.inputs[0]
    return []


def _is_symmetric(step: oir.Node) -> bool:
    zero = step.inputs[2] if len(step.inputs) > 2 else None
    return zero is None or (zero.const_value is not None and not zero.const_value.numpy().any())


def _widen(node: oir.Node, chain: list[oir.Value]) -> None:
    *computed, source = chain
    assert source.const_value is not None
    set_constant(source, _with_zero_column(source.const_value.numpy()))
    for value in computed:
        value.shape = source.shape
    top, left, bottom, right = _ints(node, "pads", 0) * (1 if "pads" in node.attributes else 4)
    node.attributes["pads"] = oir.AttrInt64s("pads", [top, left, bottom, right + 1])
    node.attributes["kernel_shape"] = oir.AttrInt64s("kernel_shape", [1, 2])


def _with_zero_column(weight: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """(C, 1, 1, 1) to (C, 1, 1, 2)."""
    return np.concatenate([weight, np.zeros_like(weight)], axis=3)
