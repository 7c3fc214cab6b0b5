"""numpy types of QNN's tensor types."""

from __future__ import annotations

import numpy as np

from hexaquant.qnn.describe import DTYPES

_OTHER = {
    "sfixed4": np.int8,
    "sfixed8": np.int8,
    "sfixed16": np.int16,
    "sfixed32": np.int32,
    "ufixed4": np.uint8,
    "ufixed8": np.uint8,
    "ufixed16": np.uint16,
    "ufixed32": np.uint32,
    "bool": np.uint8,
}


def numpy_dtype(name: str) -> np.dtype:
    """The numpy type in which tensors of the QNN type ``name`` (records.TensorInfo.dtype) are stored."""
    return np.dtype(_OTHER.get(name, name))


NATIVE_DTYPES = {code: numpy_dtype(name) for code, name in DTYPES.items() if name != "bfloat16"}
"""Qnn_DataType_t -> numpy type."""
