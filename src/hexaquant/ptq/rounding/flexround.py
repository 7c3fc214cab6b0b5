"""FlexRound: rounding learned by dividing each weight by a factor of its own before it is rounded.

Lee et al., "FlexRound: Learnable Rounding based on Element-wise Division for Post-Training Quantization", ICML 2023
(arXiv:2306.00317), equation 2:  Wq = s1 clip(round(W / (s1 S2))),  with one s1 a row and one S2 a weight, both
learned. A large weight may move by more than one step. E and its gradient are as in adaround.py; rounding passes
gradients straight through. Both factors are learned as logarithms.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hexaquant.ptq.rounding.adaround import LOOK
from hexaquant.ptq.rounding.coordinate_descent import Integers
from hexaquant.ptq.rounding.early_stop import Best

RATE = 0.002


def flexround(
    W: Tensor,
    H: Tensor,
    G: Tensor,
    S: Tensor,
    low: int,
    high: int,
    *,
    iterations: int = 200,
    fixed_steps: bool = False,
    smallest: Tensor | None = None,
    error: Callable[[Tensor], float] | None = None,
) -> Integers:
    """Integers for W (g, O, K) from steps S (g, O, K) or (g, O, 1); a row's steps change by one factor.

    ``fixed_steps``: they do not; ``smallest`` (g, O, 1): they stay above; ``error``: see adaround; without it E itself
    says which integers were the best.
    """
    factors, row = torch.zeros_like(W), torch.zeros_like(W[..., :1])
    norm = 1 / torch.diagonal(H, dim1=1, dim2=2).sum(1)[:, None, None].clamp(min=1e-20)
    optimizer = torch.optim.Adam([factors, row], lr=RATE)
    best = Best(error or (lambda Wq: float(((Wq @ H - 2 * G) * Wq).sum())))
    for step in range(iterations + 1):
        s1 = S * row.exp()
        if smallest is not None:
            s1 = torch.maximum(s1, smallest)
        u = W / s1 * (-factors).exp()
        Q = torch.round(u).clamp_(low, high)
        if step == iterations or (step % LOOK == 0 and best.is_over(Q, s1)):
            best.see(Q, s1)
            break
        by_weight = 2 * ((Q * s1) @ H - G) * s1 * norm
        inside = (u > low - 0.5) & (u < high + 0.5)
        passed = torch.where(inside, by_weight * u, torch.zeros_like(u))
        factors.grad = -passed
        row.grad = torch.zeros_like(row) if fixed_steps else (by_weight * Q - passed).sum(2, keepdim=True)
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / iterations)
        optimizer.step()
    return best.integers
