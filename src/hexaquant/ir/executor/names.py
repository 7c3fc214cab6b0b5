"""ONNX names as Python attribute paths and identifiers, uniquely and reversibly (the maps keep the originals)."""

from __future__ import annotations

import keyword
import re

from torch import fx, nn

_RESERVED = set(dir(nn.Module()))
_RESERVED_AT_TOP = set(dir(fx.GraphModule)) | {"taps", "_graph", "_code", "meta"}


def is_module_parameter(name: str) -> bool:
    """True for a name as PyTorch gives to a submodule's parameter: "blocks.0.scale", not "val_3" or "/l.1/Constant"."""
    return re.fullmatch(r"\w+(\.\w+)+", name) is not None


def identifier(name: str, taken: set[str]) -> str:
    """A Python identifier for ``name`` that is not in ``taken``; adds it there."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
    if word[0].isdigit() or keyword.iskeyword(word):
        word = "_" + word
    return _unique(word, taken)


def attribute_path(name: str, taken: dict[str, bool]) -> str:
    """A dotted path for parameter ``name``: the name itself unless torch cannot hold it.

    ``taken`` maps each path in use to True for tensors and False for containers, and is extended.
    """
    parts = [_attribute(part, _RESERVED) for part in name.split(".")]
    parts[0] = _attribute(parts[0], _RESERVED_AT_TOP)
    while not _free(parts, taken):
        parts[-1] += "_"
    for i in range(1, len(parts)):
        taken[".".join(parts[:i])] = False
    path = ".".join(parts)
    taken[path] = True
    return path


def _attribute(part: str, reserved: set[str]) -> str:
    clean = re.sub(r"[\"'\\\s]", "_", part) or "_"
    return clean + "_" if clean in reserved else clean


def _free(parts: list[str], taken: dict[str, bool]) -> bool:
    """True when the whole path is unused; renames containers that collide with a tensor."""
    for i in range(1, len(parts)):
        while taken.get(".".join(parts[:i])):
            parts[i - 1] += "_"
    return ".".join(parts) not in taken


def _unique(word: str, taken: set[str]) -> str:
    candidate, count = word, 1
    while candidate in taken:
        candidate, count = f"{word}_{count}", count + 1
    taken.add(candidate)
    return candidate
