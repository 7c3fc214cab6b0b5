"""GPTQ: round column by column, compensating each error on the columns still to come through the inverse Hessian.

Frantar et al., "GPTQ", ICLR 2023 (arXiv:2210.17323), algorithm 1, with the columns in the order of falling H_kk
("act-order") and the asymmetric target of GPTAQ (Li et al., ICML 2025, arXiv:2504.02692): the float solution that
the columns are rounded from is the minimum of the whole quadratic, W* = G H^-1, not W. With U the upper Cholesky
factor of H^-1, column k's error is  (w_k - q_k) / U_kk  and columns j > k lose  error * U_kj.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hexaquant.ptq.rounding.coordinate_descent import BLOCK, Integers


def gptq(H: Tensor, G: Tensor, S: Tensor, low: int, high: int) -> Integers:
    """Integers for H (g, K, K), positive definite, and G (g, O, K) on steps S (g, O, K) or (g, O, 1)."""
    order = torch.argsort(torch.diagonal(H, dim1=1, dim2=2).sum(0), descending=True)
    H = H[:, order][:, :, order]
    U = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(H)), upper=True)
    target = torch.cholesky_solve(G[:, :, order].transpose(1, 2), torch.linalg.cholesky(H))
    steps = S.expand_as(G)[:, :, order].transpose(1, 2).contiguous()
    Q = torch.empty_like(target)
    for start in range(0, H.shape[1], BLOCK):
        end = min(start + BLOCK, H.shape[1])
        E = torch.empty_like(target[:, start:end])
        for k in range(start, end):
            Q[:, k] = torch.round(target[:, k] / steps[:, k]).clamp_(low, high)
            E[:, k - start] = (target[:, k] - Q[:, k] * steps[:, k]) / U[:, k, k, None]
            target[:, k:end].baddbmm_(U[:, k, k:end, None], E[:, k - start, None], alpha=-1)
        target[:, end:].baddbmm_(U[:, start:end, end:].transpose(1, 2), E, alpha=-1)
    return Integers(Q[:, torch.argsort(order)].transpose(1, 2).contiguous(), S.expand_as(G).contiguous())
