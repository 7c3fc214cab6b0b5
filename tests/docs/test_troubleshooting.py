"""docs/troubleshooting.md quotes errors verbatim: each is produced by its command, or can come from the source."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from docs.broken import spoil
from docs.snippets import calls_of, snippets_of
from docs.test_snippets import run_page

ROOT = Path(__file__).parents[2]
PAGE = "docs/troubleshooting.md"
SNIPPETS = snippets_of(ROOT / PAGE, PAGE)
QUOTED = [line for s in SNIPPETS if s.language == "text" for line in s.text.splitlines() if line]


def test_every_command_prints_the_error_under_it(
    room: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(room)
    monkeypatch.chdir(room)
    run_page(PAGE, room, environment)
    errors = [call for s in SNIPPETS if s.language == "console" for call in calls_of(s.text)]
    assert all("error: " in call.expected for call in errors)


@pytest.mark.parametrize("message", QUOTED)
def test_a_message_without_a_command_stands_in_the_source(message: str) -> None:
    assert any(pattern.fullmatch(message) for pattern in source_messages()), message


@cache
def source_messages() -> tuple[re.Pattern[str], ...]:
    """Every text of 20 characters or more in the source, as a pattern: what is filled in may be anything."""
    patterns = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = _parts(node)
            if sum(len(part) for part in parts if part is not None) >= 20:
                patterns.add("".join(".*" if part is None else re.escape(part) for part in parts))
    return tuple(re.compile(pattern) for pattern in patterns)


def _parts(node: ast.AST) -> list[str | None]:
    """The fixed pieces of a text, None for what is filled in; empty when the node is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if not isinstance(node, ast.JoinedStr):
        return []
    return [v.value if isinstance(v, ast.Constant) and isinstance(v.value, str) else None for v in node.values]
