"""Cases of operators with weights, pooling, resizing, normalization, products and recurrence."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from legality.case import Case
from legality.operands import RANKS, case, f, i0, ints, w, x

SPATIAL = {1: (20,), 2: (12, 12), 3: (6, 8, 8)}


def cases() -> Iterator[Case]:
    yield from _convolutions()
    yield from _transposed()
    yield from _pools()
    yield from _resizes()
    yield from _products()
    yield from _norms()
    yield from _sequences()


def _convolutions() -> Iterator[Case]:
    for dims, size in SPATIAL.items():
        groups = {1: (8, 8), 2: (8, 4), 8: (8, 1)}
        options = product(groups, (3, 1), (1, 2, 4), (1, 2))
        for group, kernel, stride, dilation in options:
            if dilation == 2 and (kernel == 1 or stride > 1):
                continue
            if dims == 3 and group == 2:
                continue
            out, inner = groups[group]
            attributes = {"group": group, "strides": [stride] * dims, "dilations": [dilation] * dims}
            yield case("Conv", x(1, 8, *size), w(out, inner, *[kernel] * dims), **attributes)
        yield case("Conv", x(1, 8, *size), w(6, 8, *[2] * dims), w(6))
        yield case("Conv", x(1, 8, *size), w(6, 8, *[5] * dims), w(6), pads=[2] * 2 * dims)
        yield case("Conv", x(1, 3, *size), w(16, 3, *[3] * dims), w(16), pads=[1] * 2 * dims)
        yield case("Conv", x(1, 3, *size), w(16, 3, *[3] * dims), auto_pad="SAME_UPPER")
        yield case("Conv", x(1, 8, *size), w(16, 1, *[3] * dims), group=8)
        yield case("Conv", x(1, 8, *size), x(4, 8, *[3] * dims))
    yield case("Conv", x(2, 8, 12, 12), w(6, 8, 3, 3), w(6))
    yield case("Conv", x(1, 8, 12, 12), w(6, 8, 1, 7), w(6))


def _transposed() -> Iterator[Case]:
    for dims, size in SPATIAL.items():
        for group, kernel, stride in product((1, 2, 8) if dims == 2 else (1, 8), (2, 3), (1, 2)):
            attributes = {"group": group, "strides": [stride] * dims}
            yield case("ConvTranspose", x(1, 8, *size), w(8, 8 // group, *[kernel] * dims), **attributes)
        yield case("ConvTranspose", x(1, 8, *size), w(8, 6, *[3] * dims), w(6), dilations=[2] * dims)
        extra = {"strides": [2] * dims, "pads": [1] * 2 * dims, "output_padding": [1] * dims}
        yield case("ConvTranspose", x(1, 8, *size), w(8, 6, *[3] * dims), w(6), **extra)


def _pools() -> Iterator[Case]:
    for dims, size in SPATIAL.items():
        for op in ("MaxPool", "AveragePool"):
            for kernel, stride, pad in ((2, 2, 0), (3, 2, 1), (3, 1, 1), (3, 3, 0), (2, 1, 0), (4, 4, 0)):
                extra = {"kernel_shape": [kernel] * dims, "strides": [stride] * dims, "pads": [pad] * 2 * dims}
                yield case(op, x(1, 8, *size), **extra)
            yield case(op, x(1, 8, *size), kernel_shape=[3] * dims, strides=[2] * dims, ceil_mode=1)
        yield case("MaxPool", x(1, 8, *size), kernel_shape=[2] * dims, dilations=[2] * dims)
        yield case("AveragePool", x(1, 8, *size), kernel_shape=[3] * dims, pads=[1] * 2 * dims, count_include_pad=1)
        for op in ("GlobalMaxPool", "GlobalAveragePool"):
            yield case(op, x(1, 8, *size))
    yield case("LpPool", x(1, 8, 12, 12), kernel_shape=[2, 2])
    yield case("GlobalLpPool", x(1, 8, 12, 12))
    yield case("MaxPool", x(1, 8, 12, 12), kernel_shape=[2, 2], strides=[2, 2], outputs=2)


def _resizes() -> Iterator[Case]:
    for dims, size in {**SPATIAL, 3: (4, 4, 4)}.items():
        for mode, transform in product(
            ("nearest", "linear", "cubic"), ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
        ):
            if dims != 2 and (mode == "cubic" or transform in ("align_corners", "pytorch_half_pixel")):
                continue
            for scale in (2.0, 0.5):
                extra = {"nearest_mode": "floor"} if transform == "asymmetric" else {}
                scales = f(1, 1, *[scale] * dims)
                extra |= {"mode": mode, "coordinate_transformation_mode": transform}
                yield case("Resize", x(1, 8, *size), None, scales, **extra)
    grid = x(1, 6, 6, 2, low=-0.9, high=0.9)
    for mode, padding, corners in product(("linear", "nearest"), ("zeros", "border", "reflection"), (0, 1)):
        yield case("GridSample", x(1, 8, 12, 12), grid, mode=mode, padding_mode=padding, align_corners=corners)
    yield case("GridSample", x(1, 4, 6, 6, 6), x(1, 3, 3, 3, 3, low=-0.9, high=0.9))
    yield case("AffineGrid", x(1, 2, 3), ints(1, 3, 6, 6))
    yield case("RoiAlign", x(1, 8, 12, 12), w(2, 4, low=1, high=9), ints(0, 0), output_height=3, output_width=3)


def _products() -> Iterator[Case]:
    for a, b in (((4, 12), (12, 6)), ((1, 5, 12), (12, 6)), ((1, 3, 5, 12), (12, 6)), ((1, 2, 3, 5, 12), (12, 6))):
        yield case("MatMul", x(*a), w(*b))
        yield case("MatMul", x(*a), x(*b))
    for batch in ((), (2,), (1, 4), (1, 2, 2)):
        yield case("MatMul", x(*batch, 5, 12), x(*batch, 12, 6))
        yield case("MatMul", x(*batch, 5, 12), w(*batch, 12, 6))
        yield case("MatMul", w(*batch, 5, 12), x(*batch, 12, 6))
    yield case("MatMul", x(12), w(12, 6))
    yield case("MatMul", x(5, 12), x(12))
    yield case("MatMul", x(1, 4, 5, 12), x(1, 1, 12, 6))
    for bias in (None, w(6), w(1, 6), w(4, 6)):
        for transposed in (0, 1):
            weight = w(6, 12) if transposed else w(12, 6)
            yield case("Gemm", x(4, 12), weight, *([] if bias is None else [bias]), transB=transposed)
    yield case("Gemm", x(12, 4), w(12, 6), transA=1)
    yield case("Gemm", x(4, 12), w(12, 6), w(6), alpha=0.5, beta=2.0)
    yield case("Gemm", x(4, 12), x(12, 6))
    for equation, a, b in (
        ("bhqd,bhkd->bhqk", (1, 2, 5, 8), (1, 2, 6, 8)),
        ("bchw,bcwk->bchk", (1, 2, 5, 8), (1, 2, 8, 6)),
        ("bqd,bkd->bqk", (1, 5, 8), (1, 6, 8)),
        ("bnc,cd->bnd", (1, 5, 8), (8, 6)),
        ("ij,jk->ik", (5, 8), (8, 6)),
        ("bhwc,hkc->bhwk", (1, 3, 4, 8), (3, 5, 8)),
    ):
        yield case("Einsum", x(*a), x(*b), equation=equation)
    yield case("FusedMatMul", x(1, 2, 5, 12), x(1, 2, 6, 12), transB=1, domain="com.microsoft")
    yield case("Det", x(1, 4, 3, 3))
    yield case("Inverse", x(1, 4, 3, 3), domain="com.microsoft")


def _norms() -> Iterator[Case]:
    yield case("Hardmax", x(4, 12), axis=-1)
    yield case("LpNormalization", x(4, 12), axis=-1, p=1)
    for rank, shape in RANKS.items():
        channels, last = shape[min(1, rank - 1)], shape[-1]
        for axis in {-1, 1} if rank > 1 else {-1}:
            for op in ("Softmax", "LogSoftmax"):
                yield case(op, x(*shape, low=-3, high=3), axis=axis)
            yield case("LpNormalization", x(*shape), axis=axis, p=2)
        yield case("LayerNormalization", x(*shape), w(last, low=0.5, high=1.5), w(last))
        yield case("LayerNormalization", x(*shape), w(last, low=0.5, high=1.5))
        for op in ("Softmax", "LogSoftmax", "LpNormalization"):
            yield case(op, x(*shape[:-1], 1, low=0.5, high=3), axis=-1)
            if rank > 1:
                yield case(op, x(shape[0], 1, *shape[2:], low=0.5, high=3), axis=1)
        yield case("LayerNormalization", x(*shape[:-1], 1), w(1, low=0.5, high=1.5), w(1))
        yield case("RMSNormalization", x(*shape), w(last, low=0.5, high=1.5), opset=23)
        if rank > 1:
            tail = shape[-2:]
            yield case("LayerNormalization", x(*shape), w(*tail, low=0.5, high=1.5), w(*tail), axis=-2)
            yield case("SkipLayerNormalization", x(*shape), x(*shape), w(last), w(last), domain="com.microsoft")
            numbers = [w(channels, low=low, high=1.5) for low in (0.5, -0.5, -0.4, 0.6)]
            yield case("BatchNormalization", x(*shape), *numbers)
        if rank > 2:
            yield case("InstanceNormalization", x(*shape), w(channels, low=0.5, high=1.5), w(channels))
            yield case("GroupNormalization", x(*shape), w(channels, low=0.5, high=1.5), w(channels), num_groups=2)
            yield case("MeanVarianceNormalization", x(*shape), axes=[0, 2])
        if rank > 3:
            yield case("LRN", x(*shape), size=3)


def _sequences() -> Iterator[Case]:
    for op, gates, outputs in (("LSTM", 4, 3), ("GRU", 3, 2), ("RNN", 1, 2)):
        for direction in ("forward", "bidirectional"):
            d = 1 if direction == "forward" else 2
            operands = (x(5, 1, 8), w(d, 4 * gates, 8), w(d, 4 * gates, 4), w(d, 8 * gates))
            yield case(op, *operands, hidden_size=4, direction=direction, outputs=outputs)
    yield case("Attention", x(1, 2, 5, 8), x(1, 2, 5, 8), x(1, 2, 5, 8), opset=23)
    yield case("RotaryEmbedding", x(1, 2, 5, 8), w(5, 4), w(5, 4), ints(0, 1, 2, 3, 4).reshape(1, 5), opset=23)
    yield case("STFT", x(1, 64, 1), i0(16), None, i0(32))
    yield case("DFT", x(1, 32, 1))
