"""Arithmetic, logic and activation cases."""

from __future__ import annotations

import numpy as np

from ..op_case import OpCase
from .data import booleans, f32, integers, normal, scalar, uniform

X = normal(2, 3, 4)
ROW = normal(3, 1)
POSITIVE = uniform(0.2, 3.0, 2, 3, 4)
UNIT = uniform(-0.9, 0.9, 2, 3, 4)
INTS = integers(-9, 9, 2, 5)
DIVISORS = integers(1, 6, 2, 5)

_BINARY = [OpCase(op, (X, ROW), name="broadcast") for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")]
_SCALAR = [
    OpCase(op, (X, scalar(1.7)), name="constant_scalar_right", constant=(1,))
    for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")
]
_SCALAR_LEFT = [
    OpCase(op, (scalar(1.7), X), name="constant_scalar_left", constant=(0,)) for op in ("Add", "Sub", "Mul", "Div")
]
_UNARY = [
    *(OpCase(op, (X,)) for op in ("Neg", "Abs", "Exp", "Erf", "Floor", "Ceil", "Sign", "Sin", "Cos", "Sinh", "Cosh")),
    *(OpCase(op, (X,)) for op in ("Asinh", "Atan", "Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Mish")),
    *(OpCase(op, (X,)) for op in ("HardSwish", "Gelu", "Elu", "Celu", "Selu", "HardSigmoid", "LeakyRelu", "Identity")),
    *(OpCase(op, (POSITIVE,)) for op in ("Sqrt", "Log", "Reciprocal")),
    *(OpCase(op, (UNIT,)) for op in ("Tan", "Asin", "Acos", "Atanh")),
    OpCase("Acosh", (POSITIVE + 1,)),
    OpCase("Round", (f32(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 1.2),), name="ties_to_even"),
]
_ATTRIBUTES = [
    OpCase("LeakyRelu", (X,), {"alpha": 0.2}, "alpha"),
    OpCase("Elu", (X,), {"alpha": 0.5}, "alpha"),
    OpCase("Celu", (X,), {"alpha": 2.0}, "alpha"),
    OpCase("Selu", (X,), {"alpha": 1.5, "gamma": 2.0}, "alpha_gamma"),
    OpCase("HardSigmoid", (X,), {"alpha": 1 / 6, "beta": 0.5}, "torch_constants"),
    OpCase("ThresholdedRelu", (X,), {"alpha": 0.3}),
    OpCase("Shrink", (X,), {"bias": 0.2, "lambd": 0.4}),
    OpCase("Gelu", (X,), {"approximate": "tanh"}, "tanh"),
    OpCase("Swish", (X,), {"alpha": 1.0}, opset=24),
    OpCase("Swish", (X,), {"alpha": 1.5}, "alpha", opset=24),
    OpCase("PRelu", (normal(2, 3, 4, 4), normal(3, 1, 1)), name="channel"),
    OpCase("PRelu", (normal(2, 3, 4, 4), normal(1)), name="single"),
    OpCase("PRelu", (normal(2, 3, 4, 4), normal(4, 4)), name="pixel"),
    OpCase("PRelu", (normal(4, 4), normal(4)), name="last_axis"),
    *(
        OpCase(op, (X,), {"axis": axis}, f"axis{axis}")
        for op in ("Softmax", "LogSoftmax", "Hardmax")
        for axis in (1, -1)
    ),
    OpCase("Clip", (X, scalar(-0.5), scalar(0.7)), name="constants", constant=(1, 2)),
    OpCase("Clip", (X, scalar(-0.5)), name="low", constant=(1,)),
    OpCase("Clip", (X, None, scalar(0.3)), name="high", constant=(2,)),
    OpCase("Clip", (X, scalar(-0.5), scalar(0.7)), name="one_computed", constant=(1,)),
]
_POWERS = [
    OpCase("Pow", (POSITIVE, ROW), name="broadcast"),
    OpCase("Pow", (X, scalar(2.0)), name="square", constant=(1,)),
    OpCase("Pow", (X, scalar(3, np.int64)), name="integer_exponent", constant=(1,)),
    OpCase("Pow", (INTS, scalar(2.0)), name="integer_base", constant=(1,)),
]
_INTEGER = [
    OpCase("Div", (INTS, DIVISORS), name="integers_towards_zero"),
    OpCase("Mod", (INTS, DIVISORS), name="integers"),
    OpCase("Mod", (INTS, scalar(4, np.int64)), name="integers_scalar", constant=(1,)),
    OpCase("Mod", (X, ROW), {"fmod": 1}, "fmod"),
    OpCase("BitShift", (integers(0, 9, 6, dtype=np.uint8), integers(0, 3, 6, dtype=np.uint8)), {"direction": "LEFT"}),
    *(OpCase(op, (INTS, DIVISORS)) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")),
    OpCase("BitwiseNot", (INTS,)),
]
_LOGIC = [
    *(OpCase(op, (booleans(3, 4), booleans(4))) for op in ("And", "Or", "Xor")),
    OpCase("Not", (booleans(3, 4),)),
    OpCase("Equal", (INTS, scalar(3, np.int64)), name="scalar", constant=(1,)),
    *(OpCase(op, (INTS, DIVISORS)) for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    OpCase("IsNaN", (f32(1, np.nan, np.inf),)),
    OpCase("IsInf", (f32(1, np.nan, np.inf, -np.inf),)),
    OpCase("IsInf", (f32(1, np.inf, -np.inf),), {"detect_negative": 0}, "positive"),
    OpCase("IsInf", (f32(1, np.inf, -np.inf),), {"detect_positive": 0}, "negative"),
]
_VARIADIC = [OpCase(op, (X, ROW, X[0])) for op in ("Sum", "Mean", "Max", "Min")]
_MICROSOFT = [
    OpCase("Gelu", (X,), name="com.microsoft", domain="com.microsoft"),
    OpCase("BiasGelu", (X, normal(4)), domain="com.microsoft"),
    OpCase("FastGelu", (X, normal(4)), domain="com.microsoft"),
    OpCase("FastGelu", (X,), name="no_bias", domain="com.microsoft"),
    OpCase("QuickGelu", (X,), {"alpha": 1.702}, domain="com.microsoft"),
]

CASES = [
    *_BINARY,
    *_SCALAR,
    *_SCALAR_LEFT,
    *_UNARY,
    *_ATTRIBUTES,
    *_POWERS,
    *_INTEGER,
    *_LOGIC,
    *_VARIADIC,
    *_MICROSOFT,
]
