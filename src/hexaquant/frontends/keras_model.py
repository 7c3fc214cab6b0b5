"""Frontend for Keras: a ``keras.Model`` in memory, with any backend, and ``.keras`` and ``.h5`` files.

Keras 3 runs on PyTorch, so that a Keras model is exported as an nn.Module is (keras_torch.py). A model of another
backend in memory is saved and read by a process of its own; one that cannot be (custom layers, Lambda, tf_keras) is
traced by TensorFlow where that is its backend.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hexaquant.core.errors import InputError
from hexaquant.frontends.keras_file import REMEDY, check_keras_file, check_kind
from hexaquant.frontends.keras_signature import Shapes, variable_names
from hexaquant.frontends.tensorflow_graph import LAYOUT, finish
from hexaquant.frontends.tensorflow_process import NEEDED, require_packages, run_conversion
from hexaquant.frontends.traced_folder import write_traced
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import normalize


def from_keras(model: Any, example_inputs: Sequence[Any] | None = None, shapes: Shapes | None = None) -> Graph:
    """The normalized graph of ``model`` in inference mode; parameters are called as the Keras variables.

    ``example_inputs`` are needed for a model that does not know its inputs. Raises InputError naming the layer or the
    input, EnvironmentLacksError where a package is missing.
    """
    name = str(getattr(model, "name", type(model).__name__))
    backend = _backend(model)
    if backend == "torch":
        from hexaquant.frontends.keras_torch import export_keras

        return normalize(export_keras(model, name, shapes, example_inputs), shapes, LAYOUT)
    with tempfile.TemporaryDirectory(prefix="hexaquant-keras-") as folder:
        path = Path(folder) / "model.keras"
        obstacle = _not_saved(model, path)
        if not obstacle:
            return _converted(path, name, shapes, [variable for variable, _ in variable_names(model)])
        if backend == "tensorflow":
            return _traced(model, name, shapes, example_inputs, Path(folder))
    raise InputError(f"{name}: {obstacle}; with Keras' PyTorch backend (KERAS_BACKEND=torch) it can be exported")


def from_keras_file(path: str | Path, shapes: Shapes | None = None) -> Graph:
    """The normalized graph of a ``.keras`` or ``.h5`` file. Code in the file (Lambda, custom layers) is refused."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; save one with model.save('NAME.keras')")
    check_kind(path)
    return _converted(path, path.name, shapes, None)


def _converted(path: Path, name: str, shapes: Shapes | None, parameters: Sequence[str] | None) -> Graph:
    """The graph of the file ``path``; ``parameters``: names of its variables instead of those that it would give."""
    given = None if shapes is None else {key: list(dims) for key, dims in shapes.items()}
    conversion = run_conversion("keras", path, name, shapes=given, parameters=parameters)
    return normalize(Graph(conversion.model, name), shapes, LAYOUT)


def _traced(model: Any, name: str, shapes: Shapes | None, examples: Sequence[Any] | None, folder: Path) -> Graph:
    """Through TensorFlow's own tracer, in this process, where the model's code is at hand."""
    from hexaquant.frontends.keras_trace import trace_keras

    require_packages(name, NEEDED, "tensorflow")
    write_traced(trace_keras(model, name, shapes, examples), folder)
    return finish(run_conversion("traced", folder, name), name, shapes)


def _backend(model: Any) -> str:
    """The backend of the Keras that ``model`` belongs to; tf_keras knows only TensorFlow."""
    keras = sys.modules.get("keras")
    return str(keras.backend.backend()) if keras is not None and _is_keras_3(model) else "tensorflow"


def _is_keras_3(model: Any) -> bool:
    return any(kind.__module__.partition(".")[0] == "keras" for kind in type(model).__mro__)


def _not_saved(model: Any, path: Path) -> str:
    """Save ``model`` as ``path``; why Keras alone could not load that again, or nothing."""
    if not _is_keras_3(model):
        return "models of tf_keras are not read by Keras 3"
    if not getattr(model, "inputs", None):
        return "a model that does not know its inputs is its own code"
    try:
        model.save(path)
        check_keras_file(path)
    except InputError as error:
        return str(error).removeprefix(f"{path.name}: ").removesuffix(f"; {REMEDY}")
    except Exception as error:
        return f"Keras cannot save it ({' '.join(str(error).split())[:200]})"
    return ""
