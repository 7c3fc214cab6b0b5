"""Markdown out of plain text: what stands in help texts must not turn into markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_SPECIAL = str.maketrans({"|": "\\|", "<": "&lt;", "*": "\\*", "_": "\\_", "[": "\\[", "]": "\\]", "`": "\\`"})


def plain(text: str) -> str:
    """``text`` on one line, with no meaning in Markdown."""
    return " ".join(text.split()).translate(_SPECIAL)


def code(text: str) -> str:
    """``text`` as inline code in a table's cell."""
    return f"`{text.replace('|', chr(92) + '|')}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are Markdown already."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"
