"""Write an ONNX file atomically; graphs too large for one protobuf get one external data file beside it.

A file without external data is written constant by constant: as one protobuf in memory it would take twice what the
constants take, once as messages and once as bytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as oir

from hexaquant.core.atomic import atomic_path

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
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for part in parts(model):
            file.write(part)


# Field numbers of onnx.proto; all three fields are length-delimited messages.
GRAPH = 7
INITIALIZER = 5


def parts(model: oir.Model) -> Iterator[bytes]:
    """The bytes of ``model`` as ONNX, in pieces of one constant at most: everything else first, the constants last."""
    shell = _without_data(model)
    tensors = [value.const_value for value in model.graph.initializers.values() if value.const_value is not None]
    rest = shell.graph.SerializeToString()
    sizes = [oir.to_proto(tensor).ByteSize() for tensor in tensors]
    heads = [_head(INITIALIZER, size) for size in sizes]
    shell.ClearField("graph")
    yield shell.SerializeToString()
    yield _head(GRAPH, len(rest) + sum(map(len, heads)) + sum(sizes))
    yield rest
    for head, tensor in zip(heads, tensors):
        yield head
        yield oir.to_proto(tensor).SerializeToString()


def _without_data(model: oir.Model) -> onnx.ModelProto:
    """The protobuf of ``model`` without its initializers (the graph's own; those of subgraphs stay)."""
    constants = {value: value.const_value for value in model.graph.initializers.values()}
    try:
        for value, tensor in constants.items():
            if tensor is not None:
                shape = oir.Shape(tensor.shape.numpy())
                name = tensor.name or value.name or ""
                value.const_value = oir.ExternalTensor("elsewhere", 0, 0, tensor.dtype, shape=shape, name=name)
        proto = oir.to_proto(model)
    finally:
        for value, tensor in constants.items():
            value.const_value = tensor
    proto.graph.ClearField("initializer")
    return proto


def _head(field: int, size: int) -> bytes:
    """Tag and length of a length-delimited protobuf field."""
    return bytes([field << 3 | 2]) + _varint(size)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


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
