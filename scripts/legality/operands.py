"""Short words for the operands of cases."""

from __future__ import annotations

from typing import Any

import numpy as np

from legality.case import Case, Input, Operand, seed_of

RANKS: dict[int, tuple[int, ...]] = {4: (1, 8, 6, 6), 2: (4, 12), 3: (2, 6, 12), 1: (12,), 5: (1, 4, 3, 4, 4)}
"""A shape of each rank, the most frequent ones first."""


def x(*shape: int, low: float = -1.0, high: float = 1.0) -> Input:
    """A computed float operand."""
    return Input(shape, "float", low, high)


def indices(*shape: int, below: int = 2) -> Input:
    """A computed int64 operand with values 0..below-1."""
    return Input(shape, "int", 0, below)


def mask(*shape: int) -> Input:
    """A computed bool operand."""
    return Input(shape, "bool")


def w(*shape: int, low: float = -0.5, high: float = 0.5) -> np.ndarray:
    """A constant of random float32 values."""
    return np.random.default_rng(seed_of(str(shape))).uniform(low, high, shape).astype(np.float32)


def f(*values: float) -> np.ndarray:
    """A constant float32 vector; ``f0`` for scalars."""
    return np.array(values, np.float32)


def f0(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def ints(*values: int) -> np.ndarray:
    """A constant int64 vector."""
    return np.array(values, np.int64)


def i0(value: int) -> np.ndarray:
    return np.array(value, np.int64)


def case(op_type: str, *operands: Operand, **attributes: Any) -> Case:
    """A case; ``outputs``, ``domain`` and ``opset`` among the keywords are not attributes."""
    own = {key: attributes.pop(key) for key in ("outputs", "domain", "opset") if key in attributes}
    return Case(op_type, operands, attributes, **own)
