"""The source files that a module needs from this package, found by reading their import statements."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PACKAGE = "hexaquant"
ROOT = Path(__file__).parents[1]


def closure(module: str) -> dict[str, bytes]:
    """Path below a folder on sys.path -> content, for ``module`` and all it imports of this package.

    Packages become empty ``__init__.py`` files: their real ones import more than a runner needs. What only type
    checkers import is left out.
    """
    waiting, found = [module], dict[str, bytes]()
    while waiting:
        name = waiting.pop()
        path = PurePosixPath(*name.split(".")).with_suffix(".py")
        if str(path) in found:
            continue
        content = ROOT.joinpath(*name.split(".")[1:]).with_suffix(".py").read_bytes()
        found[str(path)] = content
        found |= {str(folder / "__init__.py"): b"" for folder in path.parents if folder.name}
        waiting += _imported(ast.parse(content))
    return found


def _imported(tree: ast.AST) -> Iterator[str]:
    """Modules of this package that ``tree`` imports when it runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)
        else:
            yield from _imported(node)
