"""Depthwise convolutions of kernel 1 get taps of zeros where the target fails on them.

Release 2.7.0 cannot prepare such a layer of two dimensions ("could not create op") when its output leaves the network,
or reaches it through elementwise operators: on v68 and v69 with 8-bit activations, and everywhere with strides of 3 and
more. With one weight scale for the tensor it computes other numbers, without a word: everywhere with 16-bit activations
(8 to 12 dB against the QDQ model), on v68 and v69 in one dimension with 8-bit ones. From v73 on a stride of 2 with
8-bit activations and four channels comes out at -8 to -3 dB (eight channels are right).

With a kernel of 1 x 2 (strides: 3 x 3) whose other taps are zeros it runs in every place and computes
the same sums; the added taps read padding at the borders. That costs one (eight) more products an output element.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as oir

from hexaquant.htp.qdq_view import View
from hexaquant.ir.edit import set_constant, sole_consumer

FIRST_EXACT_ARCH = 73
"""The architecture from which on kernel 1 with stride 1 and 8-bit activations runs in every place."""


def find_narrow_depthwise(view: View, node: oir.Node) -> str:
    """A layer of a QDQ graph for which all of these hold:

    1. a Conv of rank 3 or 4 with one input channel a group, a kernel of one tap, undilated, with explicit padding;
    2. its weight is a constant of at most 8 bits behind a DequantizeLinear (and a QuantizeLinear) with zero points 0,
       read by it only;
    3. its stride is 1, and either the architecture is before v73 and it reads 8-bit activations, or it reads 16-bit
       ones and its weight has one scale; or its rank is 4, and its stride 3 or more, or 2 where it reads 8-bit
       activations and the architecture is v73 or later.
    """
    chain = _weight_chain(node) if view.is_qdq and _is_pointwise_depthwise(node) else []
    return "is a depthwise convolution of one tap" if chain and _kernel(node, chain, view.arch) else ""


def widen(view: View, node: oir.Node) -> bool:
    """More taps, of zeros."""
    chain = _weight_chain(node)
    _widen(node, chain, _kernel(node, chain, view.arch))
    return True


def _is_pointwise_depthwise(node: oir.Node) -> bool:
    weight = node.inputs[1] if node.op_type == "Conv" else None
    shape = () if weight is None or weight.shape is None else tuple(weight.shape)
    if len(shape) not in (3, 4) or set(shape[1:]) != {1} or node.attributes.get_int("group", 1) < 2:
        return False
    return node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET" and max(_ints(node, "dilations", [1])) == 1


def _kernel(node: oir.Node, chain: list[oir.Value], arch: int) -> list[int]:
    """The kernel that ``node`` needs; empty when its own one serves."""
    dims = len(chain[0].shape or ()) - 2
    stride = max(_ints(node, "strides", [1]))
    if _bits(chain[0]) > 8:
        return []
    dequantize = chain[0].producer()
    bits = _bits(node.inputs[0])
    if stride > 2 or (stride == 2 and bits == 8 and arch >= FIRST_EXACT_ARCH):
        return [3, 3] if dims == 2 else []
    scale = None if dequantize is None or dequantize.inputs[1] is None else dequantize.inputs[1].shape
    has_one_scale = scale is not None and prod(int(str(dim)) for dim in scale) == 1
    fails = (bits == 8 and arch < FIRST_EXACT_ARCH) or (bits == 16 and has_one_scale)
    return [*[1] * (dims - 1), 2] if stride == 1 and fails else []


def _ints(node: oir.Node, name: str, default: list[int]) -> list[int]:
    attribute = node.attributes.get(name)
    return default if attribute is None else list(attribute.as_ints())


def _bits(value: oir.Value | None) -> int:
    """Bits of the integers that ``value`` dequantizes, 0 when it does not."""
    dequantize = None if value is None else value.producer()
    stored = dequantize.inputs[0] if dequantize is not None and dequantize.op_type == "DequantizeLinear" else None
    return 0 if stored is None or stored.dtype is None else int(stored.dtype.bitwidth)


def _weight_chain(node: oir.Node) -> list[oir.Value]:
    """From the weight that ``node`` reads back to the constant; empty where condition 2 does not hold."""
    chain = []
    value = node.inputs[1]
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


def _widen(node: oir.Node, chain: list[oir.Value], kernel: list[int]) -> None:
    *computed, source = chain
    assert source.const_value is not None
    before = [(size - 1) // 2 for size in kernel]
    after = [size - 1 - first for size, first in zip(kernel, before)]
    around = [(0, 0), (0, 0), *zip(before, after)]
    set_constant(source, np.pad(source.const_value.numpy(), around))
    for value in computed:
        value.shape = source.shape
    pads = _ints(node, "pads", [0] * 2 * len(kernel))
    node.attributes["pads"] = oir.AttrInt64s("pads", [old + new for old, new in zip(pads, [*before, *after])])
    node.attributes["kernel_shape"] = oir.AttrInt64s("kernel_shape", kernel)
