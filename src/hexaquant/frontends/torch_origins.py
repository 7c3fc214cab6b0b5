"""Translate the torch exporter's node metadata into origins: module path and the user's source line."""

from __future__ import annotations

import ast
import re
from pathlib import PurePath

import onnx_ir as oir

from hexaquant.ir.graph import ORIGIN_MODULE, ORIGIN_SOURCE

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
