"""Second moments of a layer, streamed: all that rounding needs to know about its data.

With X~ the columns (K, n) of the quantized network's input and Y the outputs (O, n) of the float one (GPTAQ,
arXiv:2504.02692: the rounded layer shall give the *float* output on *quantized* input)::

    H = E[x~ x~^T] - E[x~] E[x~]^T       (K, K)
    G = E[y x~^T] - E[y] E[x~]^T         (O, K)

The squared output error of integers Wq is, after the bias has taken up the means, a quadratic form for each row::

    E|y - Wq x~ - b|^2 = var(y) - 2 <Wq, G> + <Wq H, Wq>

Layers without a bias use moments about zero. Columns are shifted by the first chunk's means before they are
multiplied, so that float32 sums do not cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TILE = 768
"""H is symmetric: only tiles of this many rows up to the diagonal are computed."""


@dataclass(frozen=True)
class Gram:
    """H (g, K, K), G (g, O, K), variance of y (g, O), and the means of x~ (g, K) and y (g, O); n columns."""

    H: Tensor
    G: Tensor
    power: Tensor
    mean_x: Tensor
    mean_y: Tensor
    n: int

    def error(self, Wq: Tensor) -> Tensor:
        """(g, O): mean squared output error of the weights ``Wq`` (g, O, K) with the best bias."""
        return self.power + ((Wq @ self.H - 2 * self.G) * Wq).sum(2)

    def bias(self, Wq: Tensor) -> Tensor:
        """(g, O): the bias that takes up the means of the output error."""
        return self.mean_y - (Wq @ self.mean_x[:, :, None])[:, :, 0]


class Inputs:
    """The part of the moments that layers with the same input share: sums of x~ and of its products."""

    def __init__(self, X: Tensor, centered: bool) -> None:
        g, K, _ = X.shape
        self.shift = X.mean(2) if centered else X.new_zeros(g, K)
        self.H = X.new_zeros(g, K, K)
        self.sum = X.new_zeros(g, K)
        self.n = 0

    def shifted(self, X: Tensor) -> Tensor:
        """The columns ``X`` (g, K, n) minus the shift."""
        return X - self.shift[:, :, None]

    def update(self, X: Tensor) -> None:
        """Take shifted columns."""
        self.n += X.shape[2]
        self.sum += X.sum(2)
        if X.shape[0] > 1 or X.shape[1] <= TILE:
            self.H.baddbmm_(X, X.transpose(1, 2))
            return
        for start in range(0, X.shape[1], TILE):
            end = min(start + TILE, X.shape[1])
            self.H[0, start:end, :end].addmm_(X[0, start:end], X[0, :end].t())

    def finish(self) -> None:
        """Mirror the tiles."""
        if self.H.shape[0] == 1 and self.H.shape[1] > TILE:
            for start in range(0, self.H.shape[1], TILE):
                end = start + TILE
                self.H[0, start:end, end:] = self.H[0, end:, start:end].t()


class Moments:
    """Streams chunks of one layer; ``inputs`` may be another layer's with the same columns."""

    def __init__(self, inputs: Inputs, Y: Tensor, centered: bool) -> None:
        self.inputs = inputs
        self.centered = centered
        self.shift = Y.mean(2) if centered else Y.new_zeros(Y.shape[:2])
        self.G = Y.new_zeros(*Y.shape[:2], inputs.sum.shape[1])
        self.sum = Y.new_zeros(Y.shape[:2])
        self.power = Y.new_zeros(Y.shape[:2])
        self.n = 0

    def update(self, X: Tensor, Y: Tensor) -> None:
        """Take shifted columns (g, K, n) and outputs (g, O, n)."""
        Y = Y - self.shift[:, :, None]
        self.n += Y.shape[2]
        self.sum += Y.sum(2)
        self.power += Y.square().sum(2)
        self.G.baddbmm_(Y, X.transpose(1, 2))

    def gram(self) -> Gram:
        """The moments; H is normalised in place where no other layer shares it."""
        n = self.n
        inputs = self.inputs
        mean_x = inputs.sum / n
        mean_y = self.sum / n
        H = inputs.H / n
        G = self.G / n
        power = self.power / n
        if not self.centered:
            return Gram(H, G, power, mean_x, mean_y, n)
        H.baddbmm_(mean_x[:, :, None], mean_x[:, None, :], alpha=-1)
        G.baddbmm_(mean_y[:, :, None], mean_x[:, None, :], alpha=-1)
        power = (power - mean_y.square()).clamp_(min=0)
        return Gram(H, G, power, mean_x + inputs.shift, mean_y + self.shift, n)


@dataclass(frozen=True)
class HeldOut:
    """Columns X (g, K, n) and outputs Y (g, O, n) that no fit has seen."""

    X: Tensor
    Y: Tensor

    def error(self, Wq: Tensor, bias: Tensor | None) -> Tensor:
        """(g, O): mean squared output error of ``Wq`` with ``bias`` (g, O)."""
        error = self.Y - Wq @ self.X
        if bias is not None:
            error -= bias[:, :, None]
        return error.square().mean(2)

    def power(self) -> Tensor:
        """(g, O): variance of the outputs over the columns; with one column their square."""
        return self.Y.var(2, correction=0) if self.Y.shape[2] > 1 else self.Y.square().mean(2)


def shrunk(gram: Gram, W: Tensor, rho: float, tau: float = 0.0) -> tuple[Tensor, Tensor]:
    """H and G shrunk towards solutions that need less data, rho and tau in [0, 1].

    ``tau``: from the float output as target (G) to the layer's own output on the quantized input (W H), which does
    not try to undo the errors of earlier layers. ``rho``: then to rounding each weight to its nearest, which needs no
    data: H' = (1 - rho) H + rho diag(H), and G' so that W's own row stays the minimum that it was of that part. A
    trace of the mean diagonal keeps inputs that are always zero defined.
    """
    diagonal, floor = _diagonal(gram)
    H = gram.H * (1 - rho)
    torch.diagonal(H, dim1=1, dim2=2).copy_(diagonal + floor)
    return H, _target(gram, W, tau) * (1 - rho) + W * (rho * diagonal + floor)[:, None]


def shrunk_rows(gram: Gram, W: Tensor, rho: float, tau: float = 0.0) -> tuple[Tensor, Tensor]:
    """(E, G) of :func:`shrunk` divided by 1 - rho, which leaves every minimum where it is: H + diag(E) and G.

    E is (g, 1, K). H itself serves any rho, so that rows of several can be rounded at once; rho < 1.
    """
    diagonal, floor = _diagonal(gram)
    E = ((rho * diagonal + floor) / (1 - rho))[:, None]
    return E, _target(gram, W, tau) + W * E


def _diagonal(gram: Gram) -> tuple[Tensor, Tensor]:
    """(g, K) the diagonal of H, and (g, 1) the trace of it that is added."""
    diagonal = torch.diagonal(gram.H, dim1=1, dim2=2)
    return diagonal, 1e-4 * diagonal.mean(1, keepdim=True) + 1e-12


def _target(gram: Gram, W: Tensor, tau: float) -> Tensor:
    return gram.G if tau == 0 else torch.lerp(gram.G, W @ gram.H, tau)
