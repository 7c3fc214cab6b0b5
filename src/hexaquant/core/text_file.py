"""Settings files of the user (YAML, JSON): read whole, bounded, and every failure said in one sentence.

Both formats allow small files that grow without bound in memory or on the stack: aliases of aliases, deep nesting,
integers of a million digits. Settings need none of them.
"""

from __future__ import annotations

import json
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

    text = _text(path, kind)
    try:
        return bounded(yaml.safe_load(text), path, kind)
    except (yaml.YAMLError, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{kind} {path} is not YAML: {reason}") from None
    except RecursionError:
        raise InputError(f"{kind} {path} is nested too deeply; correct it") from None


def read_json(path: Path, kind: str) -> Any:
    """The content of the JSON file ``path``, called ``kind`` in messages. Raises InputError as read_yaml does."""
    text = _text(path, kind)
    try:
        return bounded(json.loads(text), path, kind)
    except ValueError as error:
        raise InputError(f"{kind} {path} is not JSON ({error}); correct it") from None
    except RecursionError:
        raise InputError(f"{kind} {path} is nested too deeply; correct it") from None


def bounded(document: Any, path: Path, kind: str) -> Any:
    """``document`` itself, when following its aliases ends within MOST_VALUES values and DEEPEST levels."""
    pending, seen = [(document, 0)], 0
    while pending:
        value, depth = pending.pop()
        seen += 1
        if seen > MOST_VALUES or depth > DEEPEST:
            raise InputError(f"{kind} {path} is too large or nested too deeply for a settings file; correct it")
        if isinstance(value, dict):
            pending.extend((entry, depth + 1) for pair in value.items() for entry in pair)
        elif isinstance(value, (list, tuple, set)):
            pending.extend((entry, depth + 1) for entry in value)
    return document


def _text(path: Path, kind: str) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{kind} {path} has more than {MOST_BYTES >> 20} MiB, too much for a settings file")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{kind} {path} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{kind} {path} cannot be read ({error}); check the path and its permissions") from None
