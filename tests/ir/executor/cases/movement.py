"""Cases of operators that move, cut, index, convert and quantize."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper

from ..op_case import OpCase
from .data import booleans, f32, i64, integers, normal, scalar, uniform

X = normal(2, 3, 4)
IMAGE = normal(2, 8, 4, 6)
BIG = 2**63 - 1

_SHAPE = [
    OpCase("Reshape", (X, i64(0, -1)), name="copy_infer", constant=(1,)),
    OpCase("Reshape", (X, i64(4, 6)), name="plain", constant=(1,)),
    OpCase("Reshape", (X[:0], i64(0, 4)), {"allowzero": 1}, "allowzero", constant=(1,)),
    *(OpCase("Flatten", (X,), {"axis": a}, f"axis{a}") for a in (0, 1, 2, -1)),
    OpCase("Squeeze", (X[:, :1], i64(1)), constant=(1,)),
    OpCase("Squeeze", (X[:1, :, :1],), name="all"),
    OpCase("Unsqueeze", (X, i64(0, -1)), constant=(1,)),
    OpCase("Transpose", (X,), {"perm": [2, 0, 1]}),
    OpCase("Transpose", (X,), name="reverse"),
    OpCase("Concat", (X, X[:, :1], X[:, 1:]), {"axis": 1}),
    OpCase("Split", (IMAGE, i64(2, 1, 5)), {"axis": 1}, "sizes", outputs=3, constant=(1,)),
    OpCase("Split", (IMAGE,), {"axis": 1, "num_outputs": 3}, "uneven", outputs=3),
    OpCase("Slice", (IMAGE, i64(1, -3), i64(BIG, -1), i64(1, 3)), name="axes", constant=(1, 2, 3)),
    OpCase("Slice", (IMAGE, i64(0, 1), i64(1, 5)), name="leading", constant=(1, 2)),
    OpCase("Slice", (IMAGE, i64(0), i64(BIG), i64(2), i64(2)), name="step", constant=(1, 2, 3, 4)),
    OpCase("Slice", (IMAGE, i64(-1), i64(-BIG), i64(3), i64(-1)), name="reverse", constant=(1, 2, 3, 4)),
    OpCase("Slice", (IMAGE, i64(4), i64(0), i64(3), i64(-2)), name="reverse_step", constant=(1, 2, 3, 4)),
    OpCase("Expand", (X[:, :1], i64(5, 2, 3, 1)), constant=(1,)),
    OpCase("Tile", (X, i64(1, 2, 3)), constant=(1,)),
    OpCase("Shape", (X,)),
    OpCase("Shape", (IMAGE,), {"start": 1, "end": -1}, "part"),
    OpCase("Size", (X,)),
    OpCase("DepthToSpace", (IMAGE,), {"blocksize": 2, "mode": "DCR"}, "dcr"),
    OpCase("DepthToSpace", (IMAGE,), {"blocksize": 2, "mode": "CRD"}, "crd"),
    OpCase("SpaceToDepth", (IMAGE,), {"blocksize": 2}),
]
_PAD = [
    OpCase("Pad", (X, i64(0, 1, 2, 1, 0, 1), scalar(0.5)), name="constant", constant=(1, 2)),
    OpCase("Pad", (X, i64(0, -1, 0, 0, 0, -1)), name="crop", constant=(1,)),
    OpCase("Pad", (X, i64(1, 2), scalar(1.0), i64(-1)), name="axes", constant=(1, 2, 3)),
    *(
        OpCase("Pad", (IMAGE, i64(0, 0, 2, 1, 0, 0, 1, 3)), {"mode": m}, m, constant=(1,))
        for m in ("reflect", "edge", "wrap")
    ),
]
_INDEX = [
    OpCase("Gather", (X, scalar(-1, np.int64)), {"axis": 1}, "constant_scalar", constant=(1,)),
    OpCase("Gather", (X, i64(2, 0, -1)), {"axis": 1}, "list", constant=(1,)),
    OpCase("Gather", (normal(10, 4), integers(0, 10, 2, 5)), name="embedding", constant=(0,)),
    OpCase("Gather", (X, integers(0, 4, 2, 2)), {"axis": -1}, "matrix"),
    OpCase("GatherElements", (X, integers(-3, 3, 2, 2, 4)), {"axis": 1}),
    OpCase("GatherND", (X, integers(-2, 2, 3, 2)), name="two_axes"),
    OpCase("GatherND", (X, integers(0, 3, 2, 1)), {"batch_dims": 1}, "batched"),
    OpCase("ScatterElements", (X, i64(0, 2).reshape(1, 2, 1), normal(1, 2, 1)), {"axis": 1}),
    *(
        OpCase("ScatterElements", (X, integers(0, 3, 2, 4, 4), normal(2, 4, 4)), {"axis": 1, "reduction": r}, r)
        for r in ("add", "mul", "max", "min")
    ),
    OpCase("ScatterND", (X, i64(1, 0).reshape(2, 1), normal(2, 3, 4))),
    *(
        OpCase("ScatterND", (X, i64(0, 1, 0, 1, 1, 2).reshape(3, 2), normal(3, 4)), {"reduction": r}, r)
        for r in ("add", "mul", "max", "min")
    ),
    OpCase("OneHot", (integers(-4, 4, 2, 3), scalar(4, np.int64), f32(0.1, 0.9)), {"axis": 1}, constant=(1, 2)),
    OpCase("OneHot", (integers(0, 4, 2, 3), i64(4), f32(0, 1)), name="last", constant=(1, 2)),
    OpCase("NonZero", (integers(0, 2, 3, 4),)),
    OpCase("Compress", (X, np.array([True, False, True])), {"axis": 1}),
    OpCase("Compress", (X, np.array([True, False, True])), name="flat"),
    OpCase("Where", (booleans(3, 4), X, normal(4))),
    OpCase("Where", (booleans(2, 3, 4), X, scalar(-1e9)), name="masked", constant=(2,)),
    *(OpCase("Trilu", (normal(2, 4, 5),), {"upper": u}, f"upper{u}") for u in (0, 1)),
    OpCase("Trilu", (normal(2, 4, 5), scalar(1, np.int64)), name="diagonal", constant=(1,)),
    OpCase("Range", (scalar(2, np.int64), scalar(11, np.int64), scalar(3, np.int64)), name="integers"),
    OpCase("Range", (scalar(5.0), scalar(0.0), scalar(-1.5)), name="floats"),
    OpCase("ConstantOfShape", (i64(2, 3),), constant=(0,)),
    OpCase(
        "ConstantOfShape", (i64(2, 3),), {"value": helper.make_tensor("v", TensorProto.INT64, [1], [7])}, "integers"
    ),
    OpCase("EyeLike", (normal(3, 4),), {"k": 1}),
    OpCase("ReverseSequence", (normal(4, 3, 2), i64(4, 1, 2)), {"time_axis": 0, "batch_axis": 1}, "time_first"),
    OpCase("ReverseSequence", (normal(3, 4, 2), i64(4, 1, 2)), {"time_axis": 1, "batch_axis": 0}, "batch_first"),
]
_CAST = [
    OpCase("Cast", (X * 3,), {"to": TensorProto.INT32}, "truncates"),
    OpCase("Cast", (integers(0, 2, 3, 4),), {"to": TensorProto.FLOAT}, "to_float"),
    OpCase("Cast", (X,), {"to": TensorProto.BOOL}, "to_bool"),
    OpCase("CastLike", (X * 3, i64(1))),
]
_ZERO8, _ZERO16 = integers(0, 255, 3, dtype=np.uint8), integers(0, 60000, 3, dtype=np.uint16)
_INT4 = integers(-8, 8, 8, 4, dtype=np.int8).astype(ml_dtypes.int4)
_QUANTIZATION = [
    OpCase("QuantizeLinear", (X, scalar(0.05), scalar(100, np.uint8)), name="uint8", constant=(1, 2)),
    OpCase("QuantizeLinear", (X, uniform(0.01, 0.1, 3), _ZERO8), {"axis": 1}, "axis", constant=(1, 2)),
    OpCase("QuantizeLinear", (X, scalar(1e-4), scalar(30000, np.uint16)), name="uint16", constant=(1, 2)),
    OpCase("QuantizeLinear", (X, scalar(0.05)), {"output_dtype": TensorProto.INT8}, "output_dtype", constant=(1,)),
    OpCase("DequantizeLinear", (integers(0, 255, 2, 3, 4, dtype=np.uint8), scalar(0.05), scalar(100, np.uint8))),
    OpCase(
        "DequantizeLinear", (integers(-99, 99, 3, dtype=np.int32), uniform(0.01, 0.1, 3)), {"axis": 0}, "int32_bias"
    ),
    OpCase(
        "DequantizeLinear",
        (integers(0, 60000, 2, 3, dtype=np.uint16), uniform(0.01, 0.1, 3), _ZERO16),
        {"axis": 1},
        "uint16_axis",
        constant=(0, 1, 2),
        atol=1e-3,
    ),
    OpCase(
        "DequantizeLinear", (_INT4, uniform(0.1, 1, 2, 4)), {"axis": 0, "block_size": 4}, "int4_blocks", constant=(0, 1)
    ),
]

CASES = [*_SHAPE, *_PAD, *_INDEX, *_CAST, *_QUANTIZATION]
