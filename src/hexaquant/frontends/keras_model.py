"""Frontend for Keras: a ``keras.Model`` in memory, with any backend, and ``.keras`` and ``.h5`` files."""

from __future__ import annotations

import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hexaquant.core.archive import ARCHIVE_ERRORS, read_member
from hexaquant.core.errors import InputError
from hexaquant.core.text_file import parse_json
from hexaquant.frontends.keras_trace import layer_names, trace_keras
from hexaquant.frontends.tensorflow_graph import finish
from hexaquant.frontends.tensorflow_process import require_tensorflow, run_conversion
from hexaquant.frontends.traced_folder import write_traced
from hexaquant.ir.graph import Graph

# What a Keras file would execute when it is loaded, found in its configuration before anything is loaded.
#
# A Lambda layer carries Python code, a custom object makes Keras import a module by name. Files may not do either: only
# objects of Keras itself are let through. Functions of this file import no TensorFlow.

REMEDY = (
    "build or load the model in Python and pass the keras.Model to hexaquant.load (or name a function that returns it "
    "on the command line: file.py:function)"
)
TRUSTED = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "builtins")
"""Modules whose objects (and whose submodules' objects) a file may name."""
HDF5 = b"\x89HDF\r\n\x1a\n"
HDF5_BLOCKS = (0, 512, 1024, 2048)
"""How an HDF5 file begins, and where (its superblock, in the specification of the format)."""
DEEPEST = 300
"""Levels of a configuration; those of nested models have a few dozen."""
LARGEST_CONFIG = 2**28
"""Bytes of config.json that are read; those of large networks have less than one in a hundred of it."""


def check_keras_file(path: Path) -> None:
    """Raise InputError, naming the layer, when loading ``path`` (.keras, .h5) would execute foreign code."""
    config = read_config(path)
    for layer, found in _objects(config, ""):
        kind = str(found.get("class_name"))
        if kind == "Lambda":
            raise InputError(f"{path.name}: layer '{layer}' is a Lambda, whose code a file may not execute; {REMEDY}")
        module = found.get("module")
        registered = found.get("registered_name")
        if isinstance(registered, str) and ">" in registered and not registered.startswith("keras"):
            raise InputError(f"{path.name}: layer '{layer}' is the custom object '{registered}'; {REMEDY}")
        if isinstance(module, str) and not _is_trusted(module):
            raise InputError(f"{path.name}: layer '{layer}' is the custom object '{module}.{kind}'; {REMEDY}")


def check_kind(path: Path) -> None:
    """Raise InputError for what is no Keras file, or one with foreign code, without a process that loads TensorFlow.

    The inside of an .h5 is left to that process: its parser is native.
    """
    if zipfile.is_zipfile(path):
        check_keras_file(path)
        return
    with path.open("rb") as file:
        beginning = file.read(HDF5_BLOCKS[-1] + len(HDF5))
    if not any(beginning[start:].startswith(HDF5) for start in HDF5_BLOCKS):
        raise InputError(f"{path}: this is no Keras file (or it is truncated); save the model again")


def read_config(path: Path) -> Any:
    """The model's configuration. Raises InputError when ``path`` holds none."""
    if zipfile.is_zipfile(path):
        return _zip_config(path)
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    except OSError as error:
        raise InputError(f"{path}: this is no Keras file (or it is truncated); save the model again") from error
    if text is None:
        raise InputError(f"{path}: the file holds only weights, no model; save it with model.save('NAME.keras')")
    try:
        return parse_json(text.decode() if isinstance(text, bytes) else text, DEEPEST)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: the model's configuration is damaged; save the model again") from error


def _zip_config(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            return parse_json(read_member(archive, "config.json", LARGEST_CONFIG).decode(), DEEPEST)
    except ARCHIVE_ERRORS as error:
        raise InputError(f"{path}: the archive holds no Keras model; save it with model.save('NAME.keras')") from error


def _is_trusted(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in TRUSTED)


def _objects(config: Any, layer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every serialized object with the name of the layer that holds it; training settings are not loaded."""
    if isinstance(config, list):
        for item in config:
            yield from _objects(item, layer)
    if not isinstance(config, dict):
        return
    if "class_name" in config:
        inner = config.get("config")
        named = inner.get("name") if isinstance(inner, dict) else None
        layer = str(config.get("name") or named or layer or config["class_name"])
        yield layer, config
    for key, value in config.items():
        if key not in ("compile_config", "build_config"):
            yield from _objects(value, layer)


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
    check_kind(path)
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
