"""Attention and rotary embedding as single operators (opset 23)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hexaquant.core.errors import UnsupportedOpError


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int = 0,
    q_num_heads: int = 0,
    qk_matmul_output_mode: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int = 0,
    n_outputs: int = 1,
) -> tuple[Tensor, ...]:
    """softmax(q k' * scale + mask) v over (B, heads, S, size) or (B, S, heads * size); then the present keys, values.

    Raises UnsupportedOpError for the fourth output (the raw scores).
    """
    if n_outputs > 3:
        raise UnsupportedOpError("Attention's output qk_matmul_output is not supported: remove it from the graph")
    flat = q.dim() == 3
    if flat:
        q = _heads(q, q_num_heads)
        k = _heads(k, kv_num_heads)
        v = _heads(v, kv_num_heads)
    if past_key is not None and past_value is not None:
        k = torch.cat([past_key, k], 2)
        v = torch.cat([past_value, v], 2)
    present = (k, v)
    times = q.shape[1] // k.shape[1]
    if times > 1:
        k = k.repeat_interleave(times, 1)
        v = v.repeat_interleave(times, 1)
    mask = _full_mask(q, k, mask, bool(is_causal), 0 if past_key is None else past_key.shape[2])
    y = _attend(q, k, v, mask, q.shape[-1] ** -0.5 if scale is None else scale, softcap)
    y = y.transpose(1, 2).flatten(2) if flat else y
    return (y, *present)[:n_outputs]


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _full_mask(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool, past: int) -> Tensor | None:
    """The additive or boolean mask, with the future hidden when ``causal``."""
    if mask is not None and mask.shape[-1] < k.shape[2]:
        hidden: float | bool = False if mask.dtype == torch.bool else -torch.inf
        mask = F.pad(mask, (0, k.shape[2] - mask.shape[-1]), value=hidden)
    if not causal:
        return mask
    visible = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(past)
    if mask is None:
        return visible
    return mask & visible if mask.dtype == torch.bool else mask.masked_fill(~visible, -torch.inf)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, softcap: float) -> Tensor:
    if not softcap:
        return F.scaled_dot_product_attention(q, k, v, mask, scale=scale)
    scores = torch.tanh(q @ k.transpose(-1, -2) * (scale / softcap)) * softcap
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return torch.softmax(scores, -1) @ v


def rotary_embedding(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    position_ids: Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """x (B, heads, S, size) or (B, S, heads * size); cos, sin (positions, size/2) or (B, S, size/2)."""
    heads = _heads(x, num_heads) if x.dim() == 3 else x
    if position_ids is not None:
        cos = cos[position_ids]
        sin = sin[position_ids]
    size = rotary_embedding_dim or heads.shape[-1]
    turned = heads[..., :size]
    rest = heads[..., size:]
    cos = cos[..., : size // 2].unsqueeze(1)
    sin = sin[..., : size // 2].unsqueeze(1)
    if interleaved:
        a = turned[..., 0::2]
        b = turned[..., 1::2]
        y = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    else:
        a, b = turned.chunk(2, -1)
        y = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
    y = torch.cat([y, rest], -1) if rest.shape[-1] else y
    return y.transpose(1, 2).flatten(2) if x.dim() == 3 else y
