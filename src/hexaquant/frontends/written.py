"""The graph as the user wrote it: read or exported, not yet normalized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hexaquant.frontends import is_keras_model, load, read_proto
from hexaquant.ir.graph import Graph


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
