"""Gives every value a name that QNN keeps as it is.

The execution provider replaces characters other than letters, digits and ``_`` and then tells ``a.b`` and ``a_b``
apart only by a number that it makes up. So names are made safe and unique here, where the mapping is known.
"""

from __future__ import annotations

import re

import onnx_ir as oir

_UNSAFE = re.compile(r"[^0-9A-Za-z_]")


def make_names_safe(model: oir.Model) -> dict[str, str]:
    """Rename values of ``model`` in place; returns {safe value name: original name}.

    Names that are safe already stay; of two names that would collide the safe one wins.
    """
    values = _values(model)
    taken = {value.name for value in values if value.name and is_safe(value.name)}
    originals: dict[str, str] = {}
    for value in values:
        original = value.name or ""
        if original and not is_safe(original):
            value.name = _unique(safe_name(original), taken)
        originals[value.name or ""] = original
    return originals


def is_safe(name: str) -> bool:
    return not _UNSAFE.search(name) and not name[:1].isdigit()


def safe_name(name: str) -> str:
    """``name`` as QNN takes it: "out/1" -> "out_1", "1x" -> "_1x"."""
    name = _UNSAFE.sub("_", name)
    return f"_{name}" if name[:1].isdigit() else name


def _unique(name: str, taken: set[str]) -> str:
    free = name
    count = 0
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    taken.add(free)
    return free


def _values(model: oir.Model) -> list[oir.Value]:
    """Every named value once: inputs, initializers, outputs of nodes."""
    found: dict[int, oir.Value] = {id(v): v for v in model.graph.inputs}
    found |= {id(v): v for v in model.graph.initializers.values()}
    for node in model.graph:
        found |= {id(v): v for v in node.outputs if v.name}
    return list(found.values())
