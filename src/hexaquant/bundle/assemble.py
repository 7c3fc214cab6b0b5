"""Writes a bundle: every file whole, the manifest with their hashes last."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Any

from hexaquant.bundle.card import ModelCard
from hexaquant.bundle.decoder import DecoderCard, decoder_contents, library_names
from hexaquant.bundle.model_file import LABELS, NAME, model_text
from hexaquant.bundle.platforms import Platform
from hexaquant.bundle.readme import readme
from hexaquant.core.atomic import atomic_path, write_bytes
from hexaquant.core.errors import InputError
from hexaquant.folder.manifest import NAME as MANIFEST
from hexaquant.folder.manifest import amend_manifest, read_manifest, versions

# The source files that a module needs from this package, found by reading their import statements.

PACKAGE = "hexaquant"
ROOT = Path(__file__).parents[1]


def closure(module: str) -> dict[str, bytes]:
    """Path below a folder on sys.path -> content, for ``module`` and all it imports of this package.

    Packages become empty ``__init__.py`` files: their real ones import more than a runner needs. What only type
    checkers import is left out.
    """
    waiting = [module]
    found = dict[str, bytes]()
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


SECTION = "bundle"
RUNNER = "hexaquant.bundle.runner"
ENTRY = b"""import sys

from hexaquant.bundle.runner import main

sys.exit(main())
"""


def assemble(card: ModelCard | DecoderCard, platform: Platform, folder: Path) -> tuple[str, ...]:
    """Write the bundle into ``folder``, new or an earlier bundle, and return its files.

    Raises InputError for a folder that holds something else.
    """
    old = _earlier_files(folder)
    (folder / MANIFEST).unlink(missing_ok=True)  # what lies there without a manifest is unfinished
    sections: dict[str, Any] = {SECTION: {"platform": platform.name, "libraries": list(libraries(card, platform))}}
    copies = [card.binary]
    if isinstance(card, DecoderCard):
        texts = decoder_contents(card, platform, made_by())
        copies += card.others
    else:
        texts = contents(card, platform)
        sections |= _sections(card)
    for name, content in texts.items():
        write_bytes(folder / name, content)
    for source in copies:
        with atomic_path(folder / source.name) as temporary:
            shutil.copyfile(source, temporary)
    names = (*texts, *(source.name for source in copies))
    for stale in old - set(names):
        (folder / stale).unlink(missing_ok=True)
    amend_manifest(folder, files=names, sections=sections, target=card.target.name, scheme=card.scheme)
    return (*names, MANIFEST)


def libraries(card: ModelCard | DecoderCard, platform: Platform) -> tuple[str, ...]:
    """File names of Qualcomm's libraries that the bundle's programs need."""
    return library_names(card, platform) if isinstance(card, DecoderCard) else platform.library_files(card.target.arch)


def made_by() -> str:
    """ "hexaquant 0.1.0"."""
    return f"hexaquant {versions().get('hexaquant', '')}".strip()


def contents(card: ModelCard, platform: Platform) -> dict[str, bytes]:
    """All files but the binary and the manifest."""
    source = files("hexaquant.bundle") / "c"
    found = {f"c/{name}": data for name, data in _tree(source).items() if not name.startswith("toolchains/")}
    if platform.toolchain:
        found[f"toolchains/{platform.toolchain}"] = (source / "toolchains" / platform.toolchain).read_bytes()
    if platform.posix:
        found |= {f"python/{name}": data for name, data in closure(RUNNER).items()} | {"python/run.py": ENTRY}
    if card.labels is not None:
        found[LABELS] = ("\n".join(card.labels) + "\n").encode()
    found[NAME] = model_text(card).encode()
    found["README.md"] = readme(card, platform, made_by()).encode()
    return found


def _tree(folder: Traversable) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= {f"{entry.name}/{name}": data for name, data in _tree(entry).items()}
        else:
            found[entry.name] = entry.read_bytes()
    return dict(sorted(found.items()))


def _sections(card: ModelCard) -> dict[str, Any]:
    """For Runtime("BUNDLE/model.bin"), which finds names there."""
    io = {
        side: [[spec.name, spec.lowered or spec.name] for spec in specs]
        for side, specs in (("inputs", card.inputs), ("outputs", card.outputs))
    }
    return {f"context {card.binary.name}": {"io": io}}


def _earlier_files(folder: Path) -> set[str]:
    """Files of the bundle that ``folder`` holds. Raises InputError for a file or a folder of something else."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the bundle with -o")
    if not (folder / MANIFEST).exists():
        if folder.exists() and any(folder.iterdir()) and not (folder / NAME).exists():
            raise InputError(f"{folder} is not empty and is not a bundle; choose another folder with -o")
        return set()
    manifest = read_manifest(folder)
    if SECTION not in manifest.sections:
        raise InputError(f"{folder} holds something else than a bundle; choose another folder with -o")
    return set(manifest.files)
