"""Normalization, reduction and matrix product cases."""

from __future__ import annotations

import numpy as np

from ..op_case import OpCase
from .data import f32, i64, integers, normal, scalar, uniform

IMAGE = normal(2, 6, 5, 4)
TOKENS = normal(2, 5, 8)

_NORMALIZATION = [
    OpCase(
        "BatchNormalization",
        (IMAGE, normal(6), normal(6), normal(6), uniform(0.5, 2, 6)),
        {"epsilon": 1e-3},
        constant=(1, 2, 3, 4),
    ),
    OpCase("InstanceNormalization", (IMAGE, normal(6), normal(6)), {"epsilon": 1e-3}, constant=(1, 2)),
    OpCase("LayerNormalization", (TOKENS, normal(8), normal(8)), constant=(1, 2)),
    OpCase("LayerNormalization", (TOKENS, normal(8)), {"epsilon": 1e-3}, "no_bias"),
    OpCase("LayerNormalization", (IMAGE, normal(5, 4), normal(5, 4)), {"axis": 2}, "two_axes"),
    OpCase("LayerNormalization", (TOKENS, normal(8), normal(8)), name="statistics", outputs=3),
    OpCase("LayerNormalization", (TOKENS, normal(1)), {"axis": 1}, "broadcast_scale"),
    OpCase("RMSNormalization", (TOKENS, normal(8)), {"epsilon": 1e-3}, opset=23),
    OpCase("RMSNormalization", (IMAGE, normal(5, 4)), {"axis": -2}, "two_axes", opset=23),
    OpCase("GroupNormalization", (IMAGE, normal(6), normal(6)), {"num_groups": 3}),
    OpCase("LRN", (IMAGE,), {"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 1.5}),
    OpCase("LpNormalization", (TOKENS,), {"axis": -1, "p": 2}, "l2"),
    OpCase("LpNormalization", (TOKENS,), {"axis": 1, "p": 1}, "l1"),
    OpCase("MeanVarianceNormalization", (IMAGE,), {"axes": [0, 2, 3]}),
    OpCase("Dropout", (TOKENS,), name="inference"),
    OpCase("Dropout", (TOKENS, scalar(0.3)), name="mask", outputs=2, constant=(1,)),
    OpCase(
        "SkipLayerNormalization",
        (TOKENS, TOKENS[::-1].copy(), normal(8), normal(8), normal(8)),
        {"epsilon": 1e-5},
        domain="com.microsoft",
    ),
]
_REDUCERS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")
_POSITIVE_REDUCERS = ("ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare")
_REDUCTION = [
    *(OpCase(op, (IMAGE, i64(2, -1)), name="axes", constant=(1,)) for op in _REDUCERS),
    *(OpCase(op, (IMAGE, i64(1)), {"keepdims": 0}, "drop_axis", constant=(1,)) for op in _REDUCERS),
    *(OpCase(op, (normal(3, 4),), {"keepdims": 0}, "all") for op in _REDUCERS),
    *(OpCase(op, (uniform(0.5, 2, 3, 4, 5), i64(0, 2)), name="axes", constant=(1,)) for op in _POSITIVE_REDUCERS),
    OpCase("ReduceSum", (IMAGE,), {"noop_with_empty_axes": 1}, "noop"),
    OpCase("ReduceSum", (integers(0, 9, 3, 4), i64(1)), name="integers", constant=(1,)),
    *(OpCase(op, (IMAGE,), {"axis": 1}, "axis1") for op in ("ArgMax", "ArgMin")),
    *(OpCase(op, (IMAGE,), {"axis": -1, "keepdims": 0}, "drop_axis") for op in ("ArgMax", "ArgMin")),
    *(
        OpCase(op, (f32(1, 3, 0, 3, 0),), {"axis": 0, "select_last_index": last}, f"ties_last{last}")
        for op in ("ArgMax", "ArgMin")
        for last in (0, 1)
    ),
    OpCase("TopK", (IMAGE, i64(3)), {"axis": 1}, outputs=2, constant=(1,)),
    OpCase("TopK", (IMAGE, i64(2)), {"axis": -1, "largest": 0}, "smallest", outputs=2, constant=(1,)),
    OpCase("TopK", (f32(1, 2, 2, 0, 2), i64(2)), name="ties", outputs=2, constant=(1,)),
    *(
        OpCase("CumSum", (TOKENS, scalar(1, np.int64)), {"exclusive": e, "reverse": r}, f"ex{e}_rev{r}", constant=(1,))
        for e in (0, 1)
        for r in (0, 1)
    ),
]
_MATRIX = [
    OpCase("MatMul", (TOKENS, normal(8, 3)), name="weights", constant=(1,)),
    OpCase("MatMul", (normal(2, 3, 4, 5), normal(3, 5, 2)), name="batched"),
    OpCase("MatMul", (normal(5), normal(5, 2)), name="vector"),
    OpCase("Gemm", (normal(3, 4), normal(5, 4), normal(5)), {"transB": 1}, "linear", constant=(1, 2)),
    OpCase("Gemm", (normal(3, 4), normal(4, 5)), name="plain"),
    OpCase(
        "Gemm",
        (normal(4, 3), normal(5, 4), normal(3, 1)),
        {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0},
        "full",
    ),
    OpCase("Einsum", (normal(2, 3, 4), normal(2, 5, 4)), {"equation": "bij, bkj -> bik"}),
    OpCase("Einsum", (normal(3, 3),), {"equation": "...ii->...i"}, "diagonal"),
    OpCase("Det", (normal(2, 3, 3),)),
    OpCase("Inverse", (normal(2, 3, 3),), domain="com.microsoft", atol=1e-4),
    OpCase("FusedMatMul", (normal(2, 4, 3), normal(2, 4, 5)), {"transA": 1, "alpha": 0.3}, domain="com.microsoft"),
    OpCase(
        "MatMulNBits",
        (normal(3, 32), integers(0, 256, 5, 2, 8, dtype=np.uint8), uniform(0.1, 1, 10)),
        {"K": 32, "N": 5, "bits": 4, "block_size": 16},
        "symmetric",
        constant=(1, 2),
        domain="com.microsoft",
        atol=1e-4,
    ),
    OpCase(
        "MatMulNBits",
        (
            normal(3, 32),
            integers(0, 256, 5, 2, 8, dtype=np.uint8),
            uniform(0.1, 1, 10),
            integers(0, 256, 5, dtype=np.uint8),
        ),
        {"K": 32, "N": 5, "bits": 4, "block_size": 16},
        "zero_points",
        constant=(1, 2, 3),
        domain="com.microsoft",
        atol=1e-4,
    ),
]

CASES = [*_NORMALIZATION, *_REDUCTION, *_MATRIX]
