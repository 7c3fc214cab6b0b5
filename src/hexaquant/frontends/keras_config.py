"""What a Keras file would execute when it is loaded, found in its configuration before anything is loaded.

A Lambda layer carries Python code, a custom object makes Keras import a module by name. Files may not do either: only
objects of Keras itself are let through. Functions of this file import no TensorFlow.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hexaquant.core.archive import ARCHIVE_ERRORS, read_member
from hexaquant.core.errors import InputError

REMEDY = (
    "build or load the model in Python and pass the keras.Model to hexaquant.load (or name a function that returns it "
    "on the command line: file.py:function)"
)
TRUSTED = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "builtins")
"""Modules whose objects (and whose submodules' objects) a file may name."""
LARGEST_CONFIG = 2**28
"""Bytes of config.json that are read; those of large networks have less than one in a hundred of it."""


def check_keras_file(path: Path) -> None:
    """Raise InputError, naming the layer, when loading ``path`` (.keras, .h5) would execute foreign code."""
    config = read_config(path)
    for layer, found in _objects(config, ""):
        kind = str(found.get("class_name"))
        if kind == "Lambda":
            raise InputError(f"{path.name}: layer '{layer}' is a Lambda, whose code a file may not execute; {REMEDY}")
        module, registered = found.get("module"), found.get("registered_name")
        if isinstance(registered, str) and ">" in registered and not registered.startswith("keras"):
            raise InputError(f"{path.name}: layer '{layer}' is the custom object '{registered}'; {REMEDY}")
        if isinstance(module, str) and not _is_trusted(module):
            raise InputError(f"{path.name}: layer '{layer}' is the custom object '{module}.{kind}'; {REMEDY}")


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
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: the model's configuration is damaged; save the model again") from error


def _zip_config(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(read_member(archive, "config.json", LARGEST_CONFIG))
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
