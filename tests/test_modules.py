"""Every module imports, and every module or name that is given as text exists: what a moved file leaves behind."""

from __future__ import annotations

import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

import hexaquant

SOURCE = Path(hexaquant.__file__).parent
MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages([str(SOURCE)], "hexaquant.")
    if not info.name.endswith("__main__")  # runs the program
)
NAMED = sorted(
    {
        name
        for file in SOURCE.rglob("*.py")
        for name in re.findall(r"[\"'](hexaquant(?:\.\w+){2,})[\"']", file.read_text(encoding="utf-8"))
    }
)
"""Of child processes and lazy imports; two parts ("hexaquant.convert") are keys of metadata."""


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "hexaquant":
            raise
        pytest.skip(f"needs {error.name}")  # an extra


@pytest.mark.parametrize("name", NAMED)
def test_a_module_that_is_named_as_text_exists(name: str) -> None:
    assert importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("name", hexaquant.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(hexaquant, name) is not None
