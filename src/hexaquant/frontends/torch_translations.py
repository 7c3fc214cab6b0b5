"""How PyTorch operators become ONNX where the exporter's own way cannot run on the target.

Adaptive average pooling of a tensor in channels-last memory (ConvNeXt: permute, pool) ends in as_strided, which the
exporter writes as a Gather with computed indices; to sizes that do not divide it becomes a masked Gather of rank 6.
Here it is a pooling operator or, where the windows differ in size, two products with constant matrices.
"""

from __future__ import annotations

import ast
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
LIBRARY = ("/torch/nn/", "/torch/_", "/torch/fx/", "/torch/onnx/", "/torch/export/", "/torch/functional.py", "<")
"""Parts of paths of frames that are not the user's."""


def record_origins(model: oir.Model) -> None:
    """Write ORIGIN_MODULE and ORIGIN_SOURCE for every node and drop the exporter's long metadata."""
    for node in model.graph:
        props = dict(node.metadata_props)
        node.metadata_props.clear()
        module, source = module_path(props.get(SCOPES, "")), source_line(props.get(TRACE, ""))
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
    return {aten.adaptive_avg_pool1d.default: adaptive_pool, aten.adaptive_avg_pool2d.default: adaptive_pool}


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
        low, high = i * length // windows, -(-(i + 1) * length // windows)
        matrix[low:high, i] = 1 / (high - low)
    return matrix


def _tensor(array: np.ndarray) -> Any:
    import onnx_ir as oir

    return oir.tensor(array)
