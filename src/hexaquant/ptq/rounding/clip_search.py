"""Joint search of weight clips by the error of the layer's output (SeqMSE's criterion, in closed form).

SeqMSE (AIMET) runs the layer once for each candidate; here the output error of all rows under a candidate scale is
the quadratic form of H and G (moments.py). The candidates are first ranked by their diagonal part, which costs no
matrix product,  sum_k H_kk (w_k - q_k)^2; only the best ones of each row are measured exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.ptq.rounding.coordinate_descent import nearest

FACTORS = tuple(1.1 - 0.025 * i for i in range(29))
"""Candidate scales relative to the present ones, 1.1 to 0.4."""


def search_clips(
    W: Tensor,
    H: Tensor,
    G: Tensor,
    S: Tensor,
    low: int,
    high: int,
    *,
    exact: int = 3,
    shared: bool = False,
    smallest: Tensor | None = None,
) -> Tensor:
    """(g, O, 1): for each row the factor on its steps S with the least output error when rounding to nearest.

    ``exact``: candidates of each row that are measured with the whole H, 1 to trust the diagonal; ``shared``: one
    factor for all rows; ``smallest`` (g, O, 1): steps that are not gone below.
    """
    factors = torch.tensor(FACTORS, dtype=W.dtype)
    proxy = torch.stack([_diagonal_error(W, H, S * f, low, high) for f in FACTORS], -1)
    if shared:
        proxy = proxy.sum((0, 1), keepdim=True).expand_as(proxy)
    ranked = factors[proxy.topk(exact, largest=False).indices]
    if exact == 1:
        return _above(ranked, S, smallest)
    best = torch.ones_like(ranked[..., :1])
    least = torch.full_like(best, torch.inf)
    for i in range(exact):
        factor = _above(ranked[..., i : i + 1], S, smallest)
        error = _error(W, H, G, S * factor, low, high)
        if shared:
            error = error.sum((0, 1), keepdim=True).expand_as(error)
        best = torch.where(error < least, factor, best)
        least = torch.minimum(error, least)
    return best


def _above(factor: Tensor, S: Tensor, smallest: Tensor | None) -> Tensor:
    return factor if smallest is None else torch.maximum(factor, (smallest / S).amax(2, keepdim=True).clamp(max=1))


def _diagonal_error(W: Tensor, H: Tensor, S: Tensor, low: int, high: int) -> Tensor:
    error = nearest(W, S, low, high).values.sub_(W).square_()
    return (error @ torch.diagonal(H, dim1=1, dim2=2)[:, :, None])[:, :, 0]


def _error(W: Tensor, H: Tensor, G: Tensor, S: Tensor, low: int, high: int) -> Tensor:
    Wq = nearest(W, S, low, high).values
    return ((Wq @ H - 2 * G) * Wq).sum(2, keepdim=True)
