"""The blocks: each takes a map of N x 8 x 8 x 8 and gives one of the same shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wild.compose import Builder

C, S = 8, 8
"""Channels, and height and width."""
T = S * S


def conv(b: Builder, x: str) -> str:
    y = b.op("Conv", x, b.weight(C, C, 3, 3), b.constant(b.rng.uniform(-0.1, 0.1, C)), pads=[1, 1, 1, 1])
    return b.op("Relu", y)


def free_reshape(b: Builder, x: str) -> str:
    """Flatten and back by arithmetic on the shape, as PyTorch's view(x.size(0), -1) writes it."""
    shape = b.op("Shape", x)
    size = b.op("Unsqueeze", b.op("Gather", shape, b.constant(0, np.int64)), b.ints(0))
    flat = b.op("Reshape", x, b.op("Concat", size, b.ints(-1), axis=0))
    mixed = b.op("Mul", flat, b.constant(b.rng.uniform(0.5, 1.5, C * T)))
    return b.op("Reshape", mixed, b.op("Concat", size, b.ints(C, S, S), axis=0))


def pixel_shuffle(b: Builder, x: str) -> str:
    """Rank 6: N x 2 x 2 x 2 x 8 x 8 and back through a convolution of stride 2."""
    split = b.op("Reshape", x, b.ints(-1, 2, 2, 2, S, S))
    turned = b.op("Transpose", split, perm=[0, 1, 4, 2, 5, 3])
    large = b.op("Reshape", turned, b.ints(-1, 2, 2 * S, 2 * S))
    return b.op("Conv", large, b.weight(C, 2, 2, 2), strides=[2, 2])


def windows(b: Builder, x: str) -> str:
    """Window partition of Swin: rank 6, attention in windows of 4 x 4, and back."""
    last = b.op("Transpose", x, perm=[0, 2, 3, 1])
    cut = b.op("Transpose", b.op("Reshape", last, b.ints(-1, 2, 4, 2, 4, C)), perm=[0, 1, 3, 2, 4, 5])
    y = _attention(b, b.op("Reshape", cut, b.ints(-1, 16, C)))
    back = b.op("Transpose", b.op("Reshape", y, b.ints(-1, 2, 2, 4, 4, C)), perm=[0, 1, 3, 2, 4, 5])
    return b.op("Transpose", b.op("Reshape", back, b.ints(-1, S, S, C)), perm=[0, 3, 1, 2])


def _tokens(b: Builder, x: str) -> str:
    return b.op("Transpose", b.op("Reshape", x, b.ints(-1, C, T)), perm=[0, 2, 1])


def _map(b: Builder, y: str) -> str:
    return b.op("Reshape", b.op("Transpose", y, perm=[0, 2, 1]), b.ints(-1, C, S, S))


def _attention(b: Builder, x: str, mask: str | None = None) -> str:
    q, k, v = (b.op("MatMul", x, b.weight(C, C)) for _ in range(3))
    scores = b.op("MatMul", b.op("Mul", q, b.constant(C**-0.5)), b.op("Transpose", k, perm=[0, 2, 1]))
    scores = scores if mask is None else b.op("Add", scores, mask)
    return b.op("Add", x, b.op("MatMul", b.op("Softmax", scores, axis=-1), v))


def causal(b: Builder, x: str) -> str:
    """A constant mask of -inf or finfo.min above the diagonal."""
    never = float(b.rng.choice([-np.inf, np.finfo(np.float32).min, -1e9]))
    mask = np.triu(np.full((T, T), never, np.float32), 1)
    return _map(b, _attention(b, _tokens(b, x), b.constant(np.where(np.isnan(mask), 0, mask))))


def token_mask(b: Builder, x: str) -> str:
    """A mask computed from an int64 input: (1 - m) * finfo.min."""
    kept = lambda r: (np.arange(T) < r.integers(T // 2, T + 1)).astype(np.int64)[None]  # noqa: E731
    ids = b.input("int", [b.batch, T], kept)
    m = b.op("Sub", b.constant(1.0), b.op("Cast", ids, to=1))
    m = b.op("Mul", b.op("Unsqueeze", m, b.ints(1)), b.constant(np.finfo(np.float32).min))
    return _map(b, _attention(b, _tokens(b, x), m))


def mask_input(b: Builder, x: str) -> str:
    """A mask that is an input, with -100 or less where there is nothing."""
    low = float(b.rng.choice([-100.0, -1e4]))
    draw = lambda r: np.where(r.random((1, 1, T)) < 0.2, low, 0).astype(np.float32)  # noqa: E731
    return _map(b, _attention(b, _tokens(b, x), b.input("float", [b.batch, 1, T], draw)))


def context(b: Builder, x: str) -> str:
    """Cross attention to five tokens without a batch axis."""
    ctx = b.input("float", [5, C], lambda r: r.uniform(-1, 1, (5, C)).astype(np.float32))
    q = b.op("MatMul", _tokens(b, x), b.weight(C, C))
    k, v = b.op("MatMul", ctx, b.weight(C, C)), b.op("MatMul", ctx, b.weight(C, C))
    p = b.op("Softmax", b.op("MatMul", q, b.op("Transpose", k, perm=[1, 0])), axis=-1)
    return _map(b, b.op("MatMul", p, v))


def state(b: Builder, x: str) -> str:
    """A recurrent state of 2 x 1 x 8 that goes in and out, added to every place."""
    s = b.input("float", [2, 1, C], lambda r: r.uniform(-0.8, 0.8, (2, 1, C)).astype(np.float32))
    pooled = b.op("Reshape", b.op("ReduceMean", x, axes=[0, 2, 3], keepdims=0), b.ints(1, 1, C))
    new = b.op("Tanh", b.op("Add", b.op("MatMul", s, b.weight(C, C)), b.op("MatMul", pooled, b.weight(C, C))))
    name = b.op("Mul", new, b.constant(0.9))
    b.outputs[name] = [2, 1, C]
    first = b.op("Reshape", b.op("Gather", new, b.ints(0), axis=0), b.ints(1, C, 1, 1))
    return b.op("Add", x, first)


def einsum(b: Builder, x: str) -> str:
    """Projections as Keras' MultiHeadAttention writes them."""
    y = _tokens(b, x)
    q = b.op("Einsum", y, b.weight(C, 2, 4), equation="abc,cde->abde")
    k = b.op("Einsum", y, b.weight(C, 2, 4), equation="abc,cde->abde")
    s = b.op("Softmax", b.op("Einsum", k, q, equation="aecd,abcd->acbe"), axis=-1)
    o = b.op("Einsum", s, q, equation="acbe,aecd->abcd")
    return _map(b, b.op("Einsum", o, b.weight(2, 4, C), equation="abcd,cde->abe"))


def half(b: Builder, x: str) -> str:
    """A part in float16."""
    y = b.op("Cast", x, to=10)
    y = b.op("Mul", y, b.constant(b.rng.uniform(0.5, 1.5, (C, 1, 1)), np.float16))
    return b.op("Cast", b.op("Sigmoid", y), to=1)


def resize(b: Builder, x: str) -> str:
    """Up and down again with an empty roi, in one of the modes."""
    mode = str(b.rng.choice(["nearest", "linear"]))
    options = {"mode": mode, "coordinate_transformation_mode": str(b.rng.choice(["asymmetric", "half_pixel"]))}
    if mode == "nearest":
        options["nearest_mode"] = str(b.rng.choice(["floor", "round_prefer_floor", "ceil"]))
    roi = b.constant(np.zeros(0))
    up = b.op("Resize", x, roi, b.constant([1, 1, 2, 2]), **options)
    return b.op("AveragePool", up, kernel_shape=[2, 2], strides=[2, 2])


def pad(b: Builder, x: str) -> str:
    mode = str(b.rng.choice(["reflect", "edge", "constant"]))
    extra = [b.constant(0.3)] if mode == "constant" else []
    wide = b.op("Pad", x, b.ints(0, 0, 1, 1, 0, 0, 1, 1), *extra, mode=mode)
    return b.op("Conv", wide, b.weight(C, C, 3, 3))


def limits(b: Builder, x: str) -> str:
    """Max and Min with infinities, and Clip with computed bounds."""
    y = b.op("Max", x, b.constant(-np.inf))
    high = b.op("Mul", b.constant(0.4), b.constant(2.0))
    return b.op("Clip", y, b.constant(-0.7), high)


def channel_norm(b: Builder, x: str) -> str:
    """LayerNormalization over the channels of a map, written out."""
    mean = b.op("ReduceMean", x, axes=[1])
    d = b.op("Sub", x, mean)
    std = b.op("Sqrt", b.op("Add", b.op("ReduceMean", b.op("Mul", d, d), axes=[1]), b.constant(1e-2)))
    return b.op("Mul", b.op("Div", d, std), b.constant(b.rng.uniform(0.5, 1.5, (C, 1, 1))))


def rows(b: Builder, x: str) -> str:
    """A GRU over the rows of the map, the batch in the middle."""
    y = b.op("Transpose", b.op("ReduceMean", x, axes=[3], keepdims=0), perm=[2, 0, 1])
    w, r = b.constant(b.rng.uniform(-0.4, 0.4, (1, 3 * C, C))), b.constant(b.rng.uniform(-0.4, 0.4, (1, 3 * C, C)))
    h = b.op("Squeeze", b.op("GRU", y, w, r, hidden_size=C, linear_before_reset=1), b.ints(1))
    return b.op("Add", x, b.op("Unsqueeze", b.op("Transpose", h, perm=[1, 2, 0]), b.ints(3)))


def plain_end(b: Builder, x: str) -> None:
    y = b.op("Conv", x, b.weight(4, C, 1, 1))
    b.outputs[y] = [b.batch, 4, S, S]


def classes(b: Builder, x: str) -> None:
    flat = b.op("Flatten", b.op("GlobalAveragePool", x))
    y = b.op("Gemm", flat, b.weight(C, 10), b.constant(b.rng.uniform(-0.2, 0.2, 10)))
    b.outputs[y] = [b.batch, 10]


def two_heads(b: Builder, x: str) -> None:
    first = b.op("Sigmoid", b.op("Conv", x, b.weight(3, C, 1, 1)))
    b.outputs[first] = [b.batch, 3, S, S]
    classes(b, x)


BLOCKS: dict[str, Callable[[Builder, str], str]] = {
    block.__name__: block
    for block in (
        *(conv, free_reshape, pixel_shuffle, windows, causal, token_mask, mask_input, context, state),
        *(einsum, half, resize, pad, limits, channel_norm, rows),
    )
}
ENDS: dict[str, Callable[[Builder, str], None]] = {end.__name__: end for end in (plain_end, classes, two_heads)}
