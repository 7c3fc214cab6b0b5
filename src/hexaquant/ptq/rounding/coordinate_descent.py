"""Cyclic coordinate descent on the integers of a weight matrix, with the scale re-fitted in closed form.

Minimises, for each row w of Wq (O, K) on the grid q * S, the quadratic form  w H w^T - 2 <w, g>.  With the residual
R = G - Wq H, the best integer of column k, all others fixed, is (QuantEase, arXiv:2309.01885, equation 5; COMQ,
arXiv:2403.07134, equation 7)::

    q_k = clip(round((w_k + R_k / H_kk) / s))

The first sweep starts at the float weights: what rounding one column costs is at once compensated by those after it.
Between sweeps each row's scale is multiplied by  <w, g> / <w H, w>, which is its least-squares optimum.
Columns are visited by falling H_kk, in blocks, so that all but the work inside a block is matrix multiplication.
Rows may have diagonals of their own (``extra``), so that rows under different shrinkages share one descent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 64
SETTLED = 1e-3
"""Sweeps end when they change fewer integers than this part."""


@dataclass(frozen=True)
class Integers:
    """Wq = Q * S: Q (g, O, K) integers as floats in low..high; S, the steps, broadcastable to them."""

    Q: Tensor
    S: Tensor

    @property
    def values(self) -> Tensor:
        return self.Q * self.S


def nearest(W: Tensor, S: Tensor, low: int, high: int) -> Integers:
    """Each weight to the nearest step: the solution without data."""
    return Integers(torch.round(W / S).clamp_(low, high), S)


def coordinate_descent(
    W: Tensor,
    H: Tensor,
    G: Tensor,
    S: Tensor,
    low: int,
    high: int,
    *,
    extra: Tensor | None = None,
    sweeps: int = 4,
    refit: bool = True,
    smallest: Tensor | None = None,
) -> Integers:
    """Integers for W (g, O, K) under H (g, K, K) and G (g, O, K), steps S (g, O, K) or (g, O, 1).

    ``extra``: (g, O, K) or (g, 1, K), added to each row's diagonal of H; ``refit``: let each row's scale follow, not
    below ``smallest`` (g, O, 1).
    """
    order = torch.argsort(torch.diagonal(H, dim1=1, dim2=2).sum(0), descending=True)
    back = torch.argsort(order)
    H = H[:, order][:, :, order]
    extra = H.new_zeros(1, 1, 1) if extra is None else extra
    S = S.expand_as(W)
    extra = extra.expand(*extra.shape[:2], len(order))
    S, w, G, E = (t[:, :, order].transpose(1, 2).contiguous() for t in (S, W, G, extra))
    R = torch.baddbmm(G, H, w, alpha=-1).addcmul_(E, w, value=-1)
    q = w.div_(S)
    limits = (float(low), float(high))
    for sweep in range(sweeps):
        changed = _sweep(q, R, H, E, S, limits)
        if sweep and changed < SETTLED * q.numel():
            break
        if refit and sweep + 1 < sweeps:
            _refit(q, R, G, S, smallest)
    Q, S = (t.transpose(1, 2)[:, :, back].contiguous() for t in (q, S))
    return Integers(Q, S)


def _sweep(q: Tensor, R: Tensor, H: Tensor, E: Tensor, S: Tensor, limits: tuple[float, float]) -> int:
    """One pass over all columns; q = w / S, R, S are (g, K, O), q and R change in place. Returns how many q changed."""
    K = q.shape[1]
    changed = 0
    for start in range(0, K, BLOCK):
        at = slice(start, min(start + BLOCK, K))
        D = _block(q[:, at], R[:, at], H[:, at, at], E[:, at], S[:, at], limits)
        R.baddbmm_(H[:, :, at], D, alpha=-1)
        R[:, at].addcmul_(E[:, at], D, value=-1)
        changed += int(torch.count_nonzero(D))
    return changed


def _block(q: Tensor, R: Tensor, H: Tensor, E: Tensor, S: Tensor, limits: tuple[float, float]) -> Tensor:
    """Visit the columns of one block; returns how each w moved, (g, B, O). R is left to the caller.

    Columns not yet visited have not moved: their zeros in D let each step be one product with the whole block.
    """
    D = torch.zeros(q.shape)
    inverse = 1 / ((torch.diagonal(H, dim1=1, dim2=2)[:, :, None] + E) * S)
    columns = zip(*(t.split(1, 1) for t in (q, R, H.contiguous(), inverse, S, D)))
    for q_k, r_k, h_k, i_k, s_k, d_k in columns:
        r = torch.baddbmm(r_k, h_k, D, alpha=-1)
        new = torch.addcmul(q_k, r, i_k).round_().clamp_(*limits)
        torch.sub(new, q_k, out=d_k)
        d_k.mul_(s_k)
    q.addcdiv_(D, S).round_()
    return D


def _refit(q: Tensor, R: Tensor, G: Tensor, S: Tensor, smallest: Tensor | None) -> None:
    """Multiply each row's scale by its optimum, S and R in place: R = G - H w, so H w is at hand."""
    w = q * S
    fitted = G - R
    along = (w * G).sum(1, keepdim=True)
    curvature = (w * fitted).sum(1, keepdim=True)
    factor = torch.where((curvature > 0) & (along > 0), along / curvature.clamp(min=1e-30), torch.ones_like(along))
    factor = factor.clamp_(0.5, 2)
    if smallest is not None:
        factor = torch.maximum(factor, (smallest.transpose(1, 2) / S).amax(1, keepdim=True).clamp(max=1))
    S *= factor
    torch.sub(G, fitted * factor, out=R)
