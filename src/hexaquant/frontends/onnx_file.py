"""Frontend for ONNX files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hexaquant.ir.graph import Graph
from hexaquant.ir.load import read_model
from hexaquant.ir.normalize import normalize


def from_onnx(path: str | Path, shapes: Mapping[str, Sequence[int | str]] | None = None) -> Graph:
    """The normalized graph of the ONNX file ``path`` (opset 7 to 23). Raises InputError in one sentence."""
    path = Path(path)
    return normalize(Graph(read_model(path), path.name), shapes)
