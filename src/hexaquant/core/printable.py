"""Text of strangers (names in a model, a library's messages) on a terminal: what could steer it is spelled out."""

from __future__ import annotations

import unicodedata

STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of Unicode: controls, formats (direction of writing), halves of pairs, line and paragraph separators."""


def printable(text: str) -> str:
    """``text`` with every character that is a control as its escape (``\\x1b``); newline and tab stay."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in STEERING:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
