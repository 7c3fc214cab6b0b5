"""Write an ONNX file atomically; graphs too large for one protobuf get one external data file beside it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnx_ir as oir

from hexaquant.core.atomic import write_bytes

INLINE_LIMIT = 1_500_000_000
"""Bytes of constants up to which they are stored inside the ``.onnx`` file (protobuf ends at 2 GiB)."""


def save_model(model: oir.Model, path: Path, inline_limit: int = INLINE_LIMIT) -> None:
    """Write ``model`` to ``path`` via a temporary file, plus ``<name>.data`` when constants exceed ``inline_limit``.

    The caller's ``model`` is left as it was. Errors as for core.atomic.atomic_path (full disk, unwritable folder).
    """
    path = Path(path)
    if sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None) > inline_limit:
        _save_external(model, path)
        return
    write_bytes(path, oir.to_proto(model).SerializeToString())


def _save_external(model: oir.Model, path: Path) -> None:
    data_path = path.with_name(path.name + ".data")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        target = Path(folder) / path.name
        constants = {v: v.const_value for v in model.graph.initializers.values()}
        try:
            oir.save(model, target, external_data=data_path.name, size_threshold_bytes=1024)
        finally:
            for value, tensor in constants.items():
                value.const_value = tensor
        (Path(folder) / data_path.name).replace(data_path)
        target.replace(path)


def to_proto(model: oir.Model) -> onnx.ModelProto:
    """The model as one in-memory protobuf (for onnxruntime sessions and the ONNX C++ tools)."""
    return oir.to_proto(model)
