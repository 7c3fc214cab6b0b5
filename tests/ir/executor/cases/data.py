"""Inputs of the operator cases: random, but the same in every run."""

from __future__ import annotations

import zlib

import numpy as np


def normal(*shape: int, dtype: type = np.float32) -> np.ndarray:
    """Standard normal values, seeded by the shape."""
    return _generator(shape).standard_normal(shape).astype(dtype)


def uniform(low: float, high: float, *shape: int) -> np.ndarray:
    return _generator(shape).uniform(low, high, shape).astype(np.float32)


def integers(low: int, high: int, *shape: int, dtype: type = np.int64) -> np.ndarray:
    return _generator(shape).integers(low, high, shape).astype(dtype)


def booleans(*shape: int) -> np.ndarray:
    return _generator(shape).random(shape) > 0.5


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def scalar(value: float, dtype: type = np.float32) -> np.ndarray:
    return np.array(value, dtype)


def _generator(shape: tuple[int, ...]) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(shape).encode()))
