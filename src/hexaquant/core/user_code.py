"""Functions that the user names on the command line: ``package.module:function`` or ``file.py:function``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from hexaquant.core.errors import InputError


def looks_like_function(text: str) -> bool:
    """True for ``module:name`` and ``file.py:name`` (not for paths such as ``C:\\model.onnx``)."""
    module, _, name = text.rpartition(":")
    return bool(module) and name.isidentifier() and (module.endswith(".py") or _is_dotted(module))


def _is_dotted(module: str) -> bool:
    return all(part.isidentifier() for part in module.split("."))


def find_object(text: str, what: str) -> Any:
    """The object that ``text`` names. This executes the user's module; the current folder is searched first.

    ``what`` says in messages what the text is for ("the metric"). Raises InputError when it cannot be imported or
    has no such name.
    """
    module_name, _, name = text.rpartition(":")
    if not module_name or not name:
        raise InputError(f"{what} '{text}' is not of the form module:function or file.py:function; correct it")
    module = _load_file(Path(module_name), what) if module_name.endswith(".py") else _import(module_name, what)
    if not hasattr(module, name):
        raise InputError(f"{what} '{text}': {module_name} has no '{name}'; check the name after the colon")
    return getattr(module, name)


def _import(name: str, what: str) -> ModuleType:
    with _search(Path.cwd()):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise InputError(f"{what}: cannot import '{name}' ({error}); check the path or the name") from error
        except Exception as error:
            raise _broken(name, what, error) from error


def _load_file(path: Path, what: str) -> ModuleType:
    if not path.is_file():
        raise InputError(f"{what}: there is no file {path}; check the path")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _search(path.resolve().parent):
        try:
            sys.modules.setdefault(path.stem, module)
            spec.loader.exec_module(module)
        except Exception as error:
            raise _broken(str(path), what, error) from error
    return module


def _broken(name: str, what: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"{what}: {name} fails when it is imported ({type(error).__name__}: {reason}); repair it")


@contextmanager
def _search(folder: Path) -> Iterator[None]:
    """Imports look into ``folder`` first."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
