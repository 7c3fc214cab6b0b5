"""Frontend for TensorFlow's files: SavedModel folders and frozen ``.pb`` graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hexaquant.core.errors import InputError
from hexaquant.frontends.tensorflow_graph import finish
from hexaquant.frontends.tensorflow_process import run_conversion
from hexaquant.ir.graph import Graph

Shapes = Mapping[str, Sequence[int | str]]


def is_saved_model(path: Path) -> bool:
    """True for the folder of a SavedModel."""
    return (path / "saved_model.pb").is_file()


def from_saved_model(path: str | Path, shapes: Shapes | None = None) -> Graph:
    """The normalized graph of a SavedModel's "serving_default" signature (else of its first), TensorFlow 2 or 1."""
    path = Path(path)
    return finish(run_conversion("saved_model", path, path.name), path.name, shapes)


def from_graph_def(
    path: str | Path,
    shapes: Shapes | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Graph:
    """The normalized graph of a frozen GraphDef between ``input_names`` and ``output_names``.

    Without names its placeholders are the inputs and the operators that nothing reads are the outputs.
    """
    path = _existing(path)
    names = {"inputs": list(input_names or []) or None, "outputs": list(output_names or []) or None}
    return finish(run_conversion("graph_def", path, path.name, **names), path.name, shapes)


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the path")
    return path
