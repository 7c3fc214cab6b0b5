"""Orthogonal matrices that spread one large channel over all: randomized Hadamard matrices that keep the mean.

    Q Q^T = I,   Q 1 = 1

The second property lets a matrix pass a LayerNormalization, whose subtraction of the mean it then commutes with.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def mixing_matrix(size: int, seed: int = 0) -> Matrix:
    """Orthogonal (size, size) with Q 1 = 1 whose entries all have a magnitude near 1 / sqrt(size).

    A Hadamard matrix with random signs, then the reflection that puts the image of the mean back onto the mean.
    Sizes for which none is constructed here get a random orthogonal matrix instead.
    """
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size)
    found = hadamard(size)
    mixed = np.linalg.qr(rng.standard_normal((size, size)))[0] if found is None else found / np.sqrt(size)
    mixed = mixed * signs
    mean = np.full(size, 1 / np.sqrt(size))
    direction = mixed @ mean - mean
    length = float(direction @ direction)
    if length < 1e-24:
        return mixed
    return mixed - np.outer(2 * direction / length, direction @ mixed)


def hadamard(size: int) -> Matrix | None:
    """Entries +-1, H H^T = size I: Sylvester's doubling of 1 or of Paley's q + 1 (q a prime, 3 mod 4); else None."""
    core = size
    while core > 1 and core % 2 == 0 and not _is_paley(core):
        core //= 2
    if core != 1 and not _is_paley(core):
        return None
    matrix = np.ones((1, 1)) if core == 1 else _paley(core - 1)
    while len(matrix) < size:
        matrix = np.kron(np.array([[1.0, 1.0], [1.0, -1.0]]), matrix)
    return matrix


def _is_paley(order: int) -> bool:
    q = order - 1
    return q > 2 and q % 4 == 3 and all(q % d for d in range(2, int(q**0.5) + 1))


def _paley(q: int) -> Matrix:
    squares = {(x * x) % q for x in range(1, q)}
    character = np.array([0.0] + [1.0 if x in squares else -1.0 for x in range(1, q)])
    jacobsthal = character[(np.arange(q)[:, None] - np.arange(q)) % q]
    skew = np.zeros((q + 1, q + 1))
    skew[0, 1:], skew[1:, 0], skew[1:, 1:] = 1, -1, jacobsthal
    return skew + np.eye(q + 1)
