"""Convolution and pooling cases."""

from __future__ import annotations

import numpy as np

from ..op_case import OpCase
from .data import i64, normal

IMAGE = normal(2, 4, 9, 8)
LINE = normal(2, 4, 11)
VOLUME = normal(1, 2, 5, 6, 5)

_CONV = [
    OpCase("Conv", (LINE, normal(6, 4, 3), normal(6)), {"pads": [1, 1], "strides": [2]}, "1d", constant=(1, 2)),
    OpCase("Conv", (IMAGE, normal(6, 4, 3, 3)), name="no_bias", constant=(1,)),
    OpCase("Conv", (IMAGE, normal(6, 4, 3, 3), normal(6)), {"pads": [1, 1, 1, 1], "strides": [2, 2]}, "strided"),
    OpCase("Conv", (IMAGE, normal(6, 4, 3, 3), normal(6)), {"pads": [0, 1, 2, 1]}, "asymmetric", constant=(1, 2)),
    OpCase("Conv", (IMAGE, normal(6, 2, 3, 3), normal(6)), {"group": 2, "dilations": [2, 2]}, "grouped_dilated"),
    OpCase("Conv", (IMAGE, normal(4, 1, 3, 3)), {"group": 4, "pads": [1, 1, 1, 1]}, "depthwise", constant=(1,)),
    OpCase("Conv", (IMAGE, normal(6, 4, 3, 2)), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, "same_upper"),
    OpCase("Conv", (IMAGE, normal(6, 4, 3, 2)), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, "same_lower"),
    OpCase("Conv", (IMAGE, normal(6, 4, 3, 2)), {"auto_pad": "VALID"}, "valid"),
    OpCase("Conv", (VOLUME, normal(3, 2, 3, 3, 3)), {"pads": [1, 0, 1, 1, 0, 1]}, "3d"),
]
_TRANSPOSED = [
    OpCase("ConvTranspose", (LINE, normal(4, 3, 3), normal(3)), {"strides": [2], "pads": [1, 1]}, "1d"),
    OpCase("ConvTranspose", (IMAGE, normal(4, 3, 2, 2)), {"strides": [2, 2]}, "upsample", constant=(1,)),
    OpCase(
        "ConvTranspose",
        (IMAGE, normal(4, 3, 3, 3), normal(3)),
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        "output_padding",
    ),
    OpCase("ConvTranspose", (IMAGE, normal(4, 3, 3, 3)), {"strides": [2, 2], "pads": [0, 1, 1, 2]}, "asymmetric"),
    OpCase("ConvTranspose", (IMAGE, normal(4, 2, 3, 3)), {"group": 2, "dilations": [2, 2]}, "grouped_dilated"),
    OpCase("ConvTranspose", (IMAGE, normal(4, 3, 3, 3)), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, "same_upper"),
    OpCase("ConvTranspose", (IMAGE, normal(4, 3, 3, 3)), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}, "same_lower"),
    OpCase("ConvTranspose", (IMAGE, normal(4, 3, 3, 3)), {"strides": [2, 2], "output_shape": [18, 16]}, "output_shape"),
    OpCase("ConvTranspose", (VOLUME, normal(2, 3, 2, 2, 2)), {"strides": [2, 2, 2]}, "3d"),
]
_POOL_VARIANTS = [
    ("plain", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("padded", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("ceil", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("ceil_padded", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    ("asymmetric", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    ("asymmetric_ceil", {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [0, 1, 1, 0], "ceil_mode": 1}),
    ("dilated", {"kernel_shape": [2, 2], "dilations": [2, 3], "pads": [1, 1, 1, 1]}),
    ("wide_pads", {"kernel_shape": [3, 3], "pads": [2, 2, 2, 2]}),
    ("same_upper", {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("same_lower", {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
]
_POOL = [
    *(OpCase("MaxPool", (IMAGE,), a, n) for n, a in _POOL_VARIANTS),
    *(OpCase("MaxPool", (IMAGE,), a, f"{n}_indices", outputs=2) for n, a in _POOL_VARIANTS if "ceil" not in n),
    OpCase("MaxPool", (LINE,), {"kernel_shape": [3], "strides": [2]}, "1d"),
    OpCase("MaxPool", (VOLUME,), {"kernel_shape": [2, 2, 2], "pads": [1, 0, 0, 0, 0, 1]}, "3d"),
    OpCase("MaxPool", (IMAGE,), {"kernel_shape": [2, 2], "storage_order": 1}, "column_major", outputs=2),
    *(OpCase("AveragePool", (IMAGE,), a, n) for n, a in _POOL_VARIANTS if n != "wide_pads"),
    *(
        OpCase("AveragePool", (IMAGE,), {**a, "count_include_pad": 1}, f"{n}_with_pads")
        for n, a in _POOL_VARIANTS
        if "pads" in a
    ),
    OpCase("AveragePool", (LINE,), {"kernel_shape": [3], "strides": [2], "pads": [1, 0]}, "1d"),
    OpCase("AveragePool", (VOLUME,), {"kernel_shape": [2, 2, 2], "strides": [2, 1, 2]}, "3d"),
    OpCase("LpPool", (IMAGE,), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "p": 2}),
    OpCase("LpPool", (IMAGE,), {"kernel_shape": [2, 2], "strides": [2, 2], "p": 3}, "p3"),
    *(OpCase(op, (x,), name=f"rank{x.ndim}") for op in ("GlobalAveragePool", "GlobalMaxPool") for x in (LINE, IMAGE)),
    OpCase("GlobalLpPool", (IMAGE,), {"p": 2}),
    OpCase(
        "MaxUnpool",
        (normal(1, 1, 2, 2), np.array([[[[5, 7], [13, 15]]]], np.int64)),
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        constant=(1,),
    ),
    OpCase(
        "MaxUnpool",
        (normal(1, 1, 2, 2), np.array([[[[5, 7], [13, 15]]]], np.int64), i64(1, 1, 5, 5)),
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        "output_shape",
        constant=(1, 2),
    ),
]

CASES = [*_CONV, *_TRANSPOSED, *_POOL]
