"""Frontend for ONNX files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hexaquant.core.errors import HexaquantError, InputError
from hexaquant.frontends import is_keras_model, load, read_proto
from hexaquant.ir.graph import Graph
from hexaquant.ir.load import read_model
from hexaquant.ir.normalize import normalize

# The graph as the user wrote it: read or exported, not yet normalized.


def load_written(
    model: Any,
    example_inputs: Sequence[Any] | None = None,
    example_kwargs: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
) -> Graph:
    """The graph before normalization of an ``.onnx`` path, a ModelProto or an nn.Module; else what ``load`` gives.

    Errors as of :func:`hexaquant.frontends.load`.
    """
    if isinstance(model, (str, Path)) and Path(model).suffix.lower() == ".onnx":
        from hexaquant.ir.load import read_model

        return Graph(read_model(Path(model)), Path(model).name)
    if hasattr(model, "SerializeToString") and hasattr(model, "graph"):
        return read_proto(model)
    is_module = hasattr(model, "named_parameters") and hasattr(model, "forward") and not is_keras_model(model)
    if is_module and (example_inputs is not None or example_kwargs):
        from hexaquant.frontends.torch_module import exported_graph

        return exported_graph(model, () if example_inputs is None else example_inputs, example_kwargs)
    return load(model, example_inputs, example_kwargs, shapes)


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
