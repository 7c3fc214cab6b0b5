"""Constant data of an ONNX graph as torch tensors, Python numbers and keyword arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as oir
import torch
from torch import Tensor

from hexaquant.ir.executor.ops.dtypes import TORCH_DTYPES

_NUMPY_FITS = {np.dtype(t) for t in (np.float32, np.float64, np.float16, np.int8, np.uint8, np.int16, np.int32)} | {
    np.dtype(np.int64),
    np.dtype(np.bool_),
}


def torch_tensor(data: np.ndarray, dtype: oir.DataType | None = None, share: bool = False) -> Tensor:
    """A copy of ``data`` as a tensor; types that torch lacks are held in a wider one (see ops/dtypes.py).

    ``share``: no copy where that can be, for a tensor that nobody writes.
    """
    wanted = _dtype(data, dtype)
    if data.dtype in _NUMPY_FITS:
        shared = share and data.flags.writeable and data.flags.c_contiguous
        return (torch.from_numpy(data) if shared else torch.tensor(data)).to(wanted)
    wide = np.float32 if data.dtype.kind not in "iub" and wanted.is_floating_point else np.int64
    return torch.tensor(data.astype(wide)).to(wanted)


def torch_dtype(value: oir.Value | None, data: np.ndarray) -> torch.dtype:
    """The torch dtype that holds ``data`` of ``value``."""
    return _dtype(data, None if value is None else value.dtype)


def _dtype(data: np.ndarray, dtype: oir.DataType | None) -> torch.dtype:
    return TORCH_DTYPES[dtype if dtype is not None else oir.DataType.from_numpy(data.dtype)]


def as_python(data: np.ndarray) -> Any:
    """A Python number for rank 0, nested lists otherwise."""
    return data.tolist()


def attributes(node: oir.Node) -> dict[str, Any]:
    """Attributes of ``node`` as keywords: numbers, strings and tuples; a tensor as its only number plus ``_dtype``."""
    result: dict[str, Any] = {}
    for name, attr in node.attributes.items():
        if attr.type == oir.AttributeType.TENSOR:
            data = attr.as_tensor().numpy()
            result[name] = data.reshape(-1)[0].item()
            result[f"{name}_dtype"] = _dtype(data, attr.as_tensor().dtype)
        elif attr.type == oir.AttributeType.STRING:
            result[name] = attr.as_string()
        elif attr.type == oir.AttributeType.STRINGS:
            result[name] = tuple(attr.as_strings())
        elif attr.type in (oir.AttributeType.INTS, oir.AttributeType.FLOATS):
            result[name] = tuple(attr.value)
        else:
            result[name] = attr.value
    return result


def constant_node_data(node: oir.Node) -> np.ndarray:
    """The data of a Constant node, whichever attribute holds it."""
    ((name, attr),) = node.attributes.items()
    if name == "value":
        return attr.as_tensor().numpy()
    return np.asarray(attr.value, dtype=np.float32 if "float" in name else np.int64)
