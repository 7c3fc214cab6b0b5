"""One hostile input: what it is, which files, which command, the exit code and the words that are expected."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from cli.tiny import samples, tiny_model

Content = bytes | str | Callable[[Path], None]
"""The bytes or text of a file, or what makes it at its path."""
LINT = ("lint", "net.onnx")
QUANTIZE = ("quantize", "net.onnx", "--data", "data.npz", "--recipe", "plain", "-o", "out")


@dataclass(frozen=True)
class Case:
    """``files``: name -> content, over net.onnx and data.npz of the tiny network. ``code``: the exit code."""

    what: str
    files: Mapping[str, Content] = field(default_factory=dict)
    command: Sequence[str] = QUANTIZE
    code: int = 2
    words: str = ""

    def prepare(self, folder: Path) -> None:
        for name, content in {"net.onnx": tiny_model().SerializeToString(), "data.npz": npz(x=samples(4)), **self.files}.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(place)
            else:
                place.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def model(body: str, inputs: str = "float[1,4] x", outputs: str = "float[1,4] y", opset: int = 17) -> bytes:
    """ONNX text of one graph."""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> n ({inputs}) => ({outputs}) {{{body}}}'
    return onnx.parser.parse_model(text).SerializeToString()


def changed(change: Callable[[onnx.ModelProto], None]) -> bytes:
    """The tiny network after ``change``."""
    proto = tiny_model()
    change(proto)
    return proto.SerializeToString()
