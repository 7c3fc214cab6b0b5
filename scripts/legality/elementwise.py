"""Cases of elementwise operators: every rank, and for two operands every kind of broadcasting."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from legality.case import Case, Input
from legality.operands import RANKS, case, f0, indices, mask, w, x

UNARY = (
    *("Relu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Gelu", "Elu", "Selu", "Softplus", "Exp", "Abs", "Neg"),
    *("Ceil", "Floor", "Round", "Sin", "Cos", "Tan", "Atan", "LeakyRelu", "ThresholdedRelu", "Sign", "Mish"),
)
NARROW = ("Tan", "Exp", "Sinh", "Cosh")
POSITIVE = {"Log": (0.2, 2.0), "Sqrt": (0.1, 2.0), "Reciprocal": (0.3, 2.0)}
UNKNOWN = ["Softsign", "Erf", "Sinh", "Cosh", "Asinh", "Celu", "Shrink", "Acos", "Atanh"]
"""Refused everywhere: two ranks show it."""
BINARY = ["Add", "Sub", "Mul", "Div", "Max", "Min"]
COMPARE = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]


def cases() -> Iterator[Case]:
    yield from _unary()
    yield from _binary()
    yield from _others()
    yield from _logic()


def _unary() -> Iterator[Case]:
    for shape in RANKS.values():
        for op in UNARY:
            yield case(op, x(*shape) if op in NARROW else x(*shape, low=-3, high=3))
        for op, (low, high) in POSITIVE.items():
            yield case(op, x(*shape, low=low, high=high))
        yield case("Asin", x(*shape, low=-0.8, high=0.8))
        yield case("Clip", x(*shape), f0(-0.5), f0(0.5))
        yield case("Clip", x(*shape), f0(0.0), f0(0.5))
        yield case("Clip", x(*shape), f0(0.3), f0(0.9))
        yield case("PRelu", x(*shape), w(*_per_channel(shape), low=0.1, high=0.4))
    for rank, op in product((4, 5), UNKNOWN):
        yield case(op, x(*RANKS[rank], low=-0.8, high=0.8))
    yield case("Acosh", x(*RANKS[4], low=1.1, high=3.0))


def _per_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one value a channel (axis 1), as PyTorch exports the slopes of PReLU."""
    return (1,) if len(shape) < 2 else (shape[1], *[1] * (len(shape) - 2))


def _seconds(shape: tuple[int, ...], low: float, high: float) -> Iterator[Input | np.ndarray]:
    """Second operands: computed of the same shape, with broadcasting, of lower rank; constants of each kind."""
    yield x(*shape, low=low, high=high)
    yield f0(0.7)
    yield w(*shape, low=low, high=high)
    if len(shape) > 1:
        yield x(*shape[:-1], 1, low=low, high=high)
        yield x(*shape[1:], low=low, high=high)
        yield w(*_per_channel(shape), low=low, high=high)
        yield w(shape[-1], low=low, high=high)


def _binary() -> Iterator[Case]:
    for shape in RANKS.values():
        for op in BINARY:
            for second in _seconds(shape, *((0.4, 1.5) if op == "Div" else (-1.0, 1.0))):
                yield case(op, x(*shape), second)
        yield case("Sub", f0(1.0), x(*shape))
        yield case("Div", f0(1.0), x(*shape, low=0.4, high=2.0))
        for exponent in (2.0, 0.5, 3.0, 1.7):
            yield case("Pow", x(*shape, low=0.1, high=2.0), f0(exponent))
        yield case("Pow", x(*shape, low=0.1, high=2.0), x(*shape, low=0.5, high=2.0))
        for op in ("Sum", "Mean"):
            yield case(op, x(*shape), x(*shape))
            yield case(op, x(*shape), x(*shape), x(*shape))
        for op in ("Max", "Min"):
            yield case(op, x(*shape), x(*shape), x(*shape))


def _others() -> Iterator[Case]:
    yield case("Mod", x(*RANKS[4], low=0.1, high=3.0), f0(2.0), fmod=1)
    yield case("IsNaN", x(*RANKS[4]))
    yield case("IsInf", x(*RANKS[4]))
    for op in ("Gelu", "QuickGelu", "FastGelu"):
        yield case(op, x(*RANKS[3]), domain="com.microsoft")
    yield case("BiasGelu", x(*RANKS[3]), w(12), domain="com.microsoft")
    for shape in RANKS.values():
        yield case("Where", mask(*shape), x(*shape), x(*shape))
        yield case("Where", mask(*shape), x(*shape), f0(0.0))
        yield case("Where", np.random.default_rng(0).random(shape) > 0.5, x(*shape), f0(0.0))
        yield case("Swish", x(*shape), opset=24)
        yield case("Gelu", x(*shape), approximate="tanh")


def _logic() -> Iterator[Case]:
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        yield case(op, indices(4, 12, below=5), np.array(1, np.int64))
    yield case("BitwiseNot", indices(4, 12, below=5))
    yield case("Xor", mask(4, 12), mask(4, 12))
    for shape in (RANKS[4], RANKS[2], RANKS[5]):
        for op in COMPARE:
            yield case(op, x(*shape), x(*shape))
            yield case(op, x(*shape), f0(0.1))
            yield case(op, indices(*shape, below=3), np.array(1, np.int64))
        for op in ("And", "Or"):
            yield case(op, mask(*shape), mask(*shape))
        yield case("Not", mask(*shape))
        for op in ("Add", "Sub", "Mul"):
            yield case(op, indices(*shape, below=5), np.array(1, np.int64))
        yield case("Cast", indices(*shape, below=5), to=1)
        yield case("Cast", mask(*shape), to=1)
        yield case("Cast", x(*shape), to=7)
        yield case("Cast", x(*shape), to=9)
