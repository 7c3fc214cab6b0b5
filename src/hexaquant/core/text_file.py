"""Files of YAML and JSON: read whole, bounded before they are parsed, and every failure said in one sentence.

Both formats allow small files that grow without bound in memory or on the stack: aliases of aliases, deep nesting,
integers of a million digits. Settings need none of them. Both readers of the field keep one of two equal keys: here
that is an error.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hexaquant.core.errors import InputError

MOST_BYTES = 16 << 20
"""A larger file is no settings file."""

MOST_VALUES = 200_000
"""Scalars and containers after aliases are followed."""

DEEPEST = 100
"""Levels of nesting."""


def read_yaml(path: Path, kind: str) -> Any:
    """The content of the YAML (or JSON) file ``path``, called ``kind`` in messages; None for an empty file.

    Raises InputError when it is missing, unreadable, not YAML, or unreasonably large or deep.
    """
    import yaml

    from hexaquant.core.strict_yaml import load_yaml

    text = read_text(path, kind)
    try:
        return bounded(load_yaml(text, MOST_VALUES, DEEPEST), path, kind)
    except (yaml.YAMLError, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{kind} {path} is not YAML: {reason}") from None
    except RecursionError:
        raise InputError(f"{kind} {path} is nested too deeply; correct it") from None


def read_json(path: Path, kind: str) -> Any:
    """The content of the JSON file ``path``, called ``kind`` in messages. Raises InputError as read_yaml does."""
    text = read_text(path, kind)
    try:
        return bounded(parse_json(text), path, kind)
    except ValueError as error:
        raise InputError(f"{kind} {path} is not JSON ({error}); correct it") from None
    except RecursionError:
        raise InputError(f"{kind} {path} is nested too deeply; correct it") from None


def parse_json(text: str, deepest: int = DEEPEST) -> Any:
    """The JSON document in ``text``. Raises ValueError for what is none, is deeper or has a key twice in an object.

    The depth is found before parsing: the parser's own stack is not for strangers to fill.
    """
    depth = 0
    for match in _JSON_BRACKETS.finditer(text):
        mark = match[0]
        depth += 1 if mark in "[{" else -1 if mark in "]}" else 0
        if depth > deepest:
            raise ValueError(f"it is nested deeper than {deepest} levels")
    return json.loads(text, object_pairs_hook=_unique)


_JSON_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice; keep one")
    return found


def is_text(value: str) -> bool:
    """False for what no file name, terminal or other program takes: NUL and lone halves of UTF-16 pairs."""
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def bounded(document: Any, path: Path, kind: str) -> Any:
    """``document`` itself, when following its aliases ends within MOST_VALUES values and DEEPEST levels."""
    pending, seen = [(document, 0)], 0
    while pending:
        value, depth = pending.pop()
        seen += 1
        if seen > MOST_VALUES or depth > DEEPEST:
            raise InputError(f"{kind} {path} is too large or nested too deeply for a settings file; correct it")
        if isinstance(value, str) and not is_text(value):
            raise InputError(
                f"{kind} {path} holds text that is no Unicode or has a zero byte: {value[:60]!r}; correct it"
            )
        if isinstance(value, dict):
            pending.extend((entry, depth + 1) for pair in value.items() for entry in pair)
        elif isinstance(value, (list, tuple, set)):
            pending.extend((entry, depth + 1) for entry in value)
    return document


def read_text(path: Path, kind: str) -> str:
    """The text file ``path``, called ``kind`` in messages. Raises InputError as read_yaml does."""
    try:
        if not path.is_file() and path.exists():
            raise InputError(f"{kind} {path} is a folder or a device, not a file; check the path")
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{kind} {path} has more than {MOST_BYTES >> 20} MiB, too much for a settings file")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{kind} {path} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{kind} {path} cannot be read ({error}); check the path and its permissions") from None
