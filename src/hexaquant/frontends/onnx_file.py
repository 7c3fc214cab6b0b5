"""Frontend for ONNX files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hexaquant.core.errors import HexaquantError, InputError
from hexaquant.ir.graph import Graph
from hexaquant.ir.load import read_model
from hexaquant.ir.normalize import normalize


def from_onnx(path: str | Path, shapes: Mapping[str, Sequence[int | str]] | None = None) -> Graph:
    """The normalized graph of the ONNX file ``path`` (opset 7 to 23). Raises InputError in one sentence."""
    path = Path(path)
    model = read_model(path)
    try:
        return normalize(Graph(model, path.name), shapes)
    except HexaquantError:
        raise
    except Exception as error:
        reason = invalidity(path)
        if reason is None:
            raise
        raise InputError(f"{path}: not a valid ONNX model ({reason}); export the model again") from error


def invalidity(path: Path) -> str | None:
    """Why onnx's own checker, shape inference included, refuses the file; None when it finds it valid."""
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None
