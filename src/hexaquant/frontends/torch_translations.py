"""How PyTorch operators become ONNX where the exporter's own way cannot run on the target.

Attention of three or five dimensions (windows, points, batches of heads) is what the exporter refuses: "only 4D query".
Here it is its definition, for any rank.

Adaptive average pooling of a tensor in channels-last memory (ConvNeXt: permute, pool) ends in as_strided, which the
exporter writes as a Gather with computed indices; to sizes that do not divide it becomes a masked Gather of rank 6.
Here it is a pooling operator or, where the windows differ in size, two products with constant matrices.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import onnx_ir as oir

from hexaquant.ir.graph import ORIGIN_MODULE, ORIGIN_SOURCE

# Translate the torch exporter's node metadata into origins: module path and the user's source line.

SCOPES = "pkg.torch.onnx.name_scopes"
TRACE = "pkg.torch.onnx.stack_trace"
FRAME = re.compile(r'File "([^"]+)", line (\d+)')
LIBRARY = (
    "/torch/nn/", "/torch/_", "/torch/fx/", "/torch/onnx/", "/torch/export/", "/torch/functional.py", "/keras/src/",
    "/hexaquant/frontends/", "<",
)  # fmt: skip
"""Parts of paths of frames that are not the user's."""


def record_origins(model: oir.Model) -> None:
    """Write ORIGIN_MODULE and ORIGIN_SOURCE for every node and drop the exporter's long metadata."""
    for node in model.graph:
        props = dict(node.metadata_props)
        node.metadata_props.clear()
        module = module_path(props.get(SCOPES, ""))
        source = source_line(props.get(TRACE, ""))
        if module:
            node.metadata_props[ORIGIN_MODULE] = module
        if source:
            node.metadata_props[ORIGIN_SOURCE] = source


def module_path(scopes: str) -> str:
    """``"['', 'blocks.3', 'blocks.3.conv2', 'conv2d_5']"`` -> ``"blocks.3.conv2"``; the last one is the call."""
    try:
        names = ast.literal_eval(scopes) if scopes else []
    except (ValueError, SyntaxError):
        return ""
    modules = [n for n in names[:-1] if isinstance(n, str) and n and "metadata_hook" not in n]
    return modules[-1] if modules else ""


def source_line(trace: str) -> str:
    """The innermost frame of ``trace`` outside torch, as ``"model.py:41"``."""
    frames = [(path, line) for path, line in FRAME.findall(trace) if not any(part in path for part in LIBRARY)]
    if not frames:
        return ""
    path, line = frames[-1]
    return f"{PurePath(path).name}:{line}"


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For torch.onnx.export's ``custom_translation_table``."""
    import torch

    aten = torch.ops.aten
    return {
        aten.adaptive_avg_pool1d.default: adaptive_pool,
        aten.adaptive_avg_pool2d.default: adaptive_pool,
        aten.scaled_dot_product_attention.default: attention,
    }


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax (scale Q K^T + mask) V for Q (..., L, E), K (..., S, E), V (..., S, F); the exporter's own at rank 4."""
    from onnxscript import opset21 as op

    if len(query.shape) == len(key.shape) == len(value.shape) == 4:
        from onnxscript.function_libs.torch_lib.ops.nn import aten_scaled_dot_product_attention

        return aten_scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    rank = len(key.shape)
    factor = float(scale) if scale is not None else _root(query.shape[-1])
    turned = op.Transpose(key, perm=[*range(rank - 2), rank - 1, rank - 2])
    scores = op.MatMul(op.Mul(query, op.Constant(value=_tensor(np.array(factor, np.float32)))), turned)
    if is_causal:
        scores = op.Add(scores, _causal(query.shape[-2], key.shape[-2]))
    elif attn_mask is not None:
        scores = op.Add(scores, _additive(attn_mask))
    return op.MatMul(op.Softmax(scores, axis=-1), value)


def _root(size: Any) -> float:
    if not isinstance(size, int):
        raise ValueError(f"attention needs features of fixed size; it has {size}")
    return 1 / math.sqrt(size)


def _causal(rows: Any, columns: Any) -> Any:
    from onnxscript import opset21 as op

    if not isinstance(rows, int) or not isinstance(columns, int):
        raise ValueError(f"causal attention needs lengths of fixed size; they are {rows} and {columns}")
    mask = np.where(np.tri(rows, columns, dtype=np.bool_), 0, np.finfo(np.float32).min)
    return op.Constant(value=_tensor(mask.astype(np.float32)))


def _additive(mask: Any) -> Any:
    """0 where a boolean ``mask`` lets through, the lowest number elsewhere; other masks as they are."""
    import onnx_ir as oir
    from onnxscript import opset21 as op

    if mask.dtype != oir.DataType.BOOL:
        return mask
    zero: Any = op.Constant(value=_tensor(np.array(0, np.float32)))
    lowest: Any = op.Constant(value=_tensor(np.array(np.finfo(np.float32).min, np.float32)))
    return op.Where(mask, zero, lowest)


def adaptive_pool(self: Any, output_size: Sequence[int]) -> Any:
    """(N, C, ...) to (N, C, *output_size): window i of n over a length L is [floor(i L / n), ceil((i + 1) L / n))."""
    from onnxscript import opset21 as op

    sizes = [int(n) for n in output_size]
    if all(n == 1 for n in sizes):
        return op.GlobalAveragePool(self)
    lengths = list(self.shape)[-len(sizes) :]
    if not all(isinstance(length, int) for length in lengths):
        raise ValueError(f"adaptive average pooling to {sizes} needs an input of fixed size; it is {lengths}")
    if all(length % n == 0 for length, n in zip(lengths, sizes, strict=True)):
        kernel = [length // n for length, n in zip(lengths, sizes, strict=True)]
        return op.AveragePool(self, kernel_shape=kernel, strides=kernel)
    result = op.MatMul(self, op.Constant(value=_tensor(averages(lengths[-1], sizes[-1]))))
    if len(sizes) == 1:
        return result
    columns = op.Transpose(result, perm=[0, 1, 3, 2])
    rows = op.MatMul(columns, op.Constant(value=_tensor(averages(lengths[0], sizes[0]))))
    return op.Transpose(rows, perm=[0, 1, 3, 2])


def averages(length: int, windows: int) -> np.ndarray:
    """(length, windows) matrix whose columns average the windows of adaptive pooling."""
    matrix = np.zeros((length, windows), np.float32)
    for i in range(windows):
        low = i * length // windows
        high = -(-(i + 1) * length // windows)
        matrix[low:high, i] = 1 / (high - low)
    return matrix


def _tensor(array: np.ndarray) -> Any:
    import onnx_ir as oir

    return oir.tensor(array)
