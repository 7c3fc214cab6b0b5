"""What a Keras file would execute when it is loaded, found in its configuration before anything is loaded.

A Lambda layer carries Python code, a custom object makes Keras import a module by name. Files may not do either: only
objects of Keras itself are let through. Nothing here imports Keras.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hexaquant.core.archive import ARCHIVE_ERRORS, read_member
from hexaquant.core.errors import InputError
from hexaquant.core.text_file import parse_json

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
