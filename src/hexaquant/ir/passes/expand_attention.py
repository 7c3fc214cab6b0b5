"""Attention and rotary embeddings of opset 23 and com.microsoft become products, Softmax and data movement.

Bodies: ONNX, Operators.md (Attention, RotaryEmbedding); onnxruntime, ContribOperators.md (Attention,
MultiHeadAttention, GroupQueryAttention, RotaryEmbedding). Queries are (batch, heads, tokens, size) inside.

1. The ranks, numbers of heads and sizes are known; the batch may be free, lengths where a mask is made of them are not.
2. A mask of "never" is -100 (see clamp_masks).
3. GroupQueryAttention: its lengths are constants, or there is no past: what its buffers hold is then known.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.body import Body, rank_of, static_dim
from hexaquant.ir.edit import int_attribute
from hexaquant.ir.graph import constant
from hexaquant.ir.passes.clamp_masks import MASK

Value = oir.Value | None


def float_attribute(node: oir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def expand_attention(body: Body) -> bool:
    """Opset 23: Q, K, V, mask, past key and value, lengths; outputs Y, present key and value, the scores."""
    node = body.node
    q, k, v, mask, past_k, past_v = (body.input(i) for i in range(6))
    flat = rank_of(q) == 3
    heads = int_attribute(node, "q_num_heads", 0)
    kv_heads = int_attribute(node, "kv_num_heads", 0)
    if q is None or k is None or v is None or body.input(6) is not None or len(node.outputs) > 3:
        return False
    if flat:
        q = split_heads(body, q, heads)
        k = split_heads(body, k, kv_heads)
        v = split_heads(body, v, kv_heads)
    past = 0 if past_k is None else static_dim(past_k, 2)
    if past is None or static_dim(q, 1) is None or static_dim(k, 1) is None:
        return False
    k = appended(body, past_k, k)
    v = appended(body, past_v, v)
    if int_attribute(node, "is_causal", 0):
        mask = both(body, mask, causal_mask(body, q, k, past))
        if mask is None:
            return False
    scale = float_attribute(node, "scale", 0.0)
    softcap = float_attribute(node, "softcap", 0.0)
    y = attended(body, q, k, v, [mask], scale, softcap)
    if y is None:
        return False
    body.finish(merge_heads(body, y) if flat else y, k, v)
    return True


def split_heads(body: Body, x: oir.Value, heads: int) -> oir.Value:
    """(batch, tokens, heads * size) -> (batch, heads, tokens, size)."""
    apart = body.op("Reshape", x, body.ints(0, 0, heads, (static_dim(x, 2) or 0) // heads))
    return body.op("Transpose", apart, perm=[0, 2, 1, 3])


def merge_heads(body: Body, x: oir.Value) -> oir.Value:
    """(batch, heads, tokens, size) -> (batch, tokens, heads * size)."""
    together = (static_dim(x, 1) or 0) * (static_dim(x, 3) or 0)
    return body.op("Reshape", body.op("Transpose", x, perm=[0, 2, 1, 3]), body.ints(0, 0, together or -1))


def appended(body: Body, past: Value, new: oir.Value) -> oir.Value:
    """``new`` keys or values behind those of the past."""
    return new if past is None or static_dim(past, 2) == 0 else body.op("Concat", past, new, axis=2)


def causal_mask(body: Body, q: oir.Value, k: oir.Value, past: int, window: int = -1) -> Value:
    """(tokens, keys): -100 where a key lies in the future of a token, or ``window`` and more before it."""
    tokens = static_dim(q, 2)
    keys = static_dim(k, 2)
    if tokens is None or keys is None:
        return None
    distance = np.arange(tokens)[:, None] + past - np.arange(keys)[None]
    hidden = (distance < 0) | ((distance >= window) if window > 0 else False)
    return body.constant(np.where(hidden, MASK, 0.0))


def both(body: Body, mask: Value, other: Value) -> Value:
    """What either mask hides; booleans say what is seen."""
    if mask is None or other is None:
        return other
    return body.op("Add", additive(body, mask), other)


def additive(body: Body, mask: oir.Value) -> oir.Value:
    """A float mask of a boolean one."""
    if mask.dtype != oir.DataType.BOOL:
        return mask
    return body.op("Where", mask, body.constant(0.0), body.constant(MASK))


def attended(
    body: Body, q: oir.Value, k: oir.Value, v: oir.Value, masks: list[Value], scale: float, softcap: float = 0.0
) -> Value:
    """softmax(q k' * scale + masks) v for (batch, heads, tokens, size); fewer heads of k and v are shared."""
    size = static_dim(q, 3)
    heads = static_dim(q, 1)
    kv_heads = static_dim(k, 1)
    if size is None or heads is None or kv_heads is None:
        return None
    if heads != kv_heads:
        k = repeated(body, k, heads)
        v = repeated(body, v, heads)
    scores = body.op("MatMul", q, body.op("Transpose", k, perm=[0, 1, 3, 2]))
    scores = body.op("Mul", scores, body.constant(scale or size**-0.5))
    if softcap:
        inner = body.op("Tanh", body.op("Div", scores, body.constant(softcap)))
        scores = body.op("Mul", inner, body.constant(softcap))
    for mask in masks:
        if mask is not None:
            scores = body.op("Add", scores, additive(body, mask))
    return body.op("MatMul", body.op("Softmax", scores, axis=-1), v)


def repeated(body: Body, x: oir.Value, heads: int) -> oir.Value:
    """Every head of ``x`` for the consecutive heads of the queries that share it."""
    times = heads // (static_dim(x, 1) or heads)
    return body.op("Gather", x, body.constant(np.arange(heads) // times, np.int64), axis=1)


def expand_rotary(body: Body, x: oir.Value, cos: oir.Value, sin: oir.Value, positions: Value) -> oir.Value:
    """x (batch, heads, tokens, size) turned; cos and sin (positions, half) or (batch, tokens, half).

    Attributes of the node: interleaved, rotary_embedding_dim.
    """
    half = static_dim(cos, -1) or 0
    width = int_attribute(body.node, "rotary_embedding_dim", 0) or static_dim(x, 3) or 2 * half
    if positions is not None:
        cos = body.op("Gather", cos, positions, axis=0)
        sin = body.op("Gather", sin, positions, axis=0)
    if half != width // 2:
        cut = (body.ints(0), body.ints(width // 2), body.ints(-1))
        cos = body.op("Slice", cos, *cut)
        sin = body.op("Slice", sin, *cut)
    axis = body.ints(1) if rank_of(cos) == 3 else body.ints(0)
    cos = body.op("Unsqueeze", cos, axis)
    sin = body.op("Unsqueeze", sin, axis)
    size = static_dim(x, 3) or width
    rest: list[oir.Value] = []
    if size > width:
        x, kept = body.ops("Split", [x, body.ints(width, size - width)], 2, axis=-1)
        rest = [kept]
    a, b = _halves(body, x, width)
    left = body.op("Sub", body.op("Mul", a, cos), body.op("Mul", b, sin))
    right = body.op("Add", body.op("Mul", b, cos), body.op("Mul", a, sin))
    return _joined(body, left, right, rest, width)


def _halves(body: Body, x: oir.Value, width: int) -> tuple[oir.Value, oir.Value]:
    if not int_attribute(body.node, "interleaved", 0) and not int_attribute(body.node, "rotary_interleaved", 0):
        first, second = body.ops("Split", [x, body.ints(width // 2, width // 2)], 2, axis=-1)
        return first, second
    even = np.arange(0, width, 2)
    odd = np.arange(1, width, 2)
    picked = [body.op("Gather", x, body.constant(which, np.int64), axis=3) for which in (even, odd)]
    return picked[0], picked[1]


def _joined(body: Body, left: oir.Value, right: oir.Value, rest: list[oir.Value], width: int) -> oir.Value:
    together = body.op("Concat", left, right, axis=-1)
    if int_attribute(body.node, "interleaved", 0) or int_attribute(body.node, "rotary_interleaved", 0):
        order = np.arange(width).reshape(2, -1).T.reshape(-1)
        together = body.op("Gather", together, body.constant(order, np.int64), axis=3)
    return body.op("Concat", together, *rest, axis=-1) if rest else together


def expand_onnx_rotary(body: Body) -> bool:
    """Opset 23: X, cos, sin, positions."""
    x, cos, sin, positions = (body.input(i) for i in range(4))
    return _rotary(body, x, cos, sin, positions)


def expand_microsoft_rotary(body: Body) -> bool:
    """com.microsoft: X, positions (batch, tokens), or the first one, cos, sin."""
    x, positions, cos, sin = (body.input(i) for i in range(4))
    tokens = static_dim(x, 1 if rank_of(x) == 3 else 2)
    if rank_of(positions) == 1:
        if tokens is None or positions is None:
            return False
        steps = body.constant(np.arange(tokens)[None], np.int64)
        positions = body.op("Add", body.op("Cast", positions, to=int(oir.DataType.INT64)), steps)
    return _rotary(body, x, cos, sin, positions)


def _rotary(body: Body, x: Value, cos: Value, sin: Value, positions: Value) -> bool:
    if x is None or cos is None or sin is None or rank_of(x) not in (3, 4):
        return False
    if rank_of(x) == 4:
        body.finish(expand_rotary(body, x, cos, sin, positions))
        return True
    heads = int_attribute(body.node, "num_heads", 0)
    if not heads and static_dim(cos, -1) is not None:
        heads = (static_dim(x, 2) or 0) // (2 * (static_dim(cos, -1) or 1))
    if not heads or static_dim(x, 2) is None:
        return False
    body.finish(merge_heads(body, expand_rotary(body, split_heads(body, x, heads), cos, sin, positions)))
    return True


def expand_microsoft_attention(body: Body) -> bool:
    """com.microsoft: input, weights (features, q + k + v), bias, mask, past, bias of the scores."""
    node = body.node
    x, weights, bias, mask, past, scores_bias = (body.input(i) for i in range(6))
    heads = int_attribute(node, "num_heads", 0)
    total = static_dim(weights, 1)
    if x is None or weights is None or not heads or total is None or past is not None:
        return False
    if int_attribute(node, "do_rotary", 0):
        return False
    sizes = node.attributes["qkv_hidden_sizes"].as_ints() if "qkv_hidden_sizes" in node.attributes else [total // 3] * 3
    qkv = body.op("MatMul", x, weights)
    qkv = body.op("Add", qkv, bias) if bias is not None else qkv
    parts = body.ops("Split", [qkv, body.ints(*sizes)], 3, axis=-1)
    q, k, v = (split_heads(body, part, heads) for part in parts)
    masks = [padding_mask(body, mask, k), scores_bias]
    if int_attribute(node, "unidirectional", 0):
        masks.append(causal_mask(body, q, k, 0))
    if mask is not None and masks[0] is None:
        return False
    y = attended(body, q, k, v, masks, float_attribute(node, "scale", 0.0))
    if y is None:
        return False
    body.finish(merge_heads(body, y))
    return True


def padding_mask(body: Body, mask: Value, k: oir.Value) -> Value:
    """Additive, of integers: lengths (batch), or 1 for what is seen (batch, keys), (batch, tokens, keys)."""
    rank = rank_of(mask)
    keys = static_dim(k, 2)
    if mask is None or rank is None:
        return None
    if rank == 1:
        if keys is None:
            return None
        lengths = body.op("Unsqueeze", mask, body.ints(1))
        places = body.op("Cast", body.constant(np.arange(keys)[None], np.int64), to=int(mask.dtype or 7))
        seen = body.op("Less", places, lengths)
    else:
        seen = body.op("Cast", mask, to=int(oir.DataType.BOOL))
    axes = {1: (1, 2), 2: (1, 2), 3: (1,)}.get(rank, ())
    return additive(body, body.op("Unsqueeze", seen, body.ints(*axes)) if axes else seen)


def expand_multi_head(body: Body) -> bool:
    """com.microsoft: query, key, value, bias, padding mask, bias of the scores, past key and value."""
    node = body.node
    q, k, v, bias, padding, scores_bias, past_k, past_v = (body.input(i) for i in range(8))
    heads = int_attribute(node, "num_heads", 0)
    if q is None or k is None or v is None or rank_of(q) != 3 or not heads or static_dim(q, 2) is None:
        return False
    if bias is not None:
        q, k, v = _biased(body, q, k, v, bias)
    q = split_heads(body, q, heads)
    k = split_heads(body, k, heads) if rank_of(k) == 3 else k
    v = split_heads(body, v, heads) if rank_of(v) == 3 else v
    past = 0 if past_k is None else static_dim(past_k, 2)
    if past is None:
        return False
    k = appended(body, past_k, k)
    v = appended(body, past_v, v)
    masks = [padding_mask(body, padding, k), scores_bias]
    if int_attribute(node, "unidirectional", 0):
        masks.append(causal_mask(body, q, k, past))
    if padding is not None and masks[0] is None:
        return False
    y = attended(body, q, k, v, masks, float_attribute(node, "scale", 0.0))
    if y is None:
        return False
    body.finish(merge_heads(body, y), k, v)
    return True


def _biased(
    body: Body, q: oir.Value, k: oir.Value, v: oir.Value, bias: oir.Value
) -> tuple[oir.Value, oir.Value, oir.Value]:
    """One bias (q + k + v); keys and values that come as heads have theirs already."""
    sizes = [static_dim(q, 2) or 0, static_dim(q, 2) or 0]
    sizes.append((static_dim(bias, 0) or 0) - sum(sizes))
    parts = body.ops("Split", [bias, body.ints(*sizes)], 3, axis=0)
    added = [body.op("Add", x, b) if rank_of(x) == 3 else x for x, b in zip((q, k, v), parts)]
    return added[0], added[1], added[2]


def expand_group_query(body: Body) -> bool:
    """com.microsoft: query, key, value, past key and value, lengths - 1, total length, cos, sin, positions."""
    node = body.node
    q, k, v, past_k, past_v, lengths = (body.input(i) for i in range(6))
    cos, sin, positions, scores_bias = (body.input(i) for i in range(7, 11))
    heads = int_attribute(node, "num_heads", 0)
    kv_heads = int_attribute(node, "kv_num_heads", 0)
    tokens = static_dim(q, 1)
    past = 0 if past_k is None else static_dim(past_k, 2)
    if q is None or past is None or tokens is None or body.input(11) is not None or static_dim(q, 2) is None:
        return False
    known = constant(lengths)
    if past and (known is None or not bool((known == past + tokens - 1).all())):
        return False
    if k is None or v is None:
        size = (static_dim(q, 2) or 0) // (heads + 2 * kv_heads)
        q, k, v = body.ops("Split", [q, body.ints(heads * size, kv_heads * size, kv_heads * size)], 3, axis=-1)
    q = split_heads(body, q, heads)
    k = split_heads(body, k, kv_heads)
    v = split_heads(body, v, kv_heads)
    if int_attribute(node, "do_rotary", 0) and cos is not None and sin is not None:
        positions = positions or body.constant(np.arange(past, past + tokens)[None], np.int64)
        q = expand_rotary(body, q, cos, sin, positions)
        k = expand_rotary(body, k, cos, sin, positions)
    k = appended(body, past_k, k)
    v = appended(body, past_v, v)
    masks = [causal_mask(body, q, k, past, int_attribute(node, "local_window_size", -1)), scores_bias]
    y = attended(body, q, k, v, masks, float_attribute(node, "scale", 0.0), float_attribute(node, "softcap", 0.0))
    if y is None:
        return False
    body.finish(merge_heads(body, y), k, v)
    return True
