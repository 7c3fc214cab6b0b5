"""Frontend for Keras: a ``keras.Model`` in memory, with any backend, and ``.keras`` and ``.h5`` files."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.frontends.keras_config import REMEDY
from hexaquant.frontends.keras_trace import layer_names, trace_keras
from hexaquant.frontends.tensorflow_graph import finish
from hexaquant.frontends.tensorflow_process import require_tensorflow, run_conversion
from hexaquant.frontends.traced_folder import write_traced
from hexaquant.ir.graph import Graph

Shapes = Mapping[str, Sequence[int | str]]


def from_keras(model: Any, example_inputs: Sequence[Any] | None = None, shapes: Shapes | None = None) -> Graph:
    """The normalized graph of ``model`` in inference mode; parameters are called as the Keras variables.

    With TensorFlow as Keras' backend the model is traced here, custom layers included; with another backend it is
    saved and converted by a process of its own, which knows the layers of Keras only. ``example_inputs`` are needed
    for a model that does not know its inputs. Raises InputError naming the layer or the input.
    """
    name = str(getattr(model, "name", type(model).__name__))
    require_tensorflow(name)
    if _backend(model) != "tensorflow":
        return _from_other_backend(model, name, shapes)
    with tempfile.TemporaryDirectory(prefix="hexaquant-keras-") as folder:
        write_traced(trace_keras(model, name, shapes, example_inputs), Path(folder))
        conversion = run_conversion("traced", Path(folder), name)
    return finish(conversion, name, shapes)


def from_keras_file(path: str | Path, shapes: Shapes | None = None) -> Graph:
    """The normalized graph of a ``.keras`` or ``.h5`` file. Code in the file (Lambda, custom layers) is refused."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; save one with model.save('NAME.keras')")
    given = None if shapes is None else {name: list(dims) for name, dims in shapes.items()}
    return finish(run_conversion("keras", path, path.name, shapes=given), path.name, shapes)


def _backend(model: Any) -> str:
    """The backend of the Keras that ``model`` belongs to; tf_keras knows only TensorFlow."""
    keras = sys.modules.get("keras")
    own = any(kind.__module__.partition(".")[0] == "keras" for kind in type(model).__mro__)
    return str(keras.backend.backend()) if keras is not None and own else "tensorflow"


def _from_other_backend(model: Any, name: str, shapes: Shapes | None) -> Graph:
    with tempfile.TemporaryDirectory(prefix="hexaquant-keras-") as folder:
        path = Path(folder) / f"{Path(name).name}.keras"
        model.save(path)
        try:
            return from_keras_file(path, shapes)
        except InputError as error:
            if "custom object" not in str(error) and "Lambda" not in str(error):
                raise
            text = str(error).removesuffix(f"; {REMEDY}")
            layers = ", ".join(layer_names(model)[:3])
            raise InputError(
                f"{text}; with Keras' TensorFlow backend (KERAS_BACKEND=tensorflow) it can be traced (layers {layers})"
            ) from error
