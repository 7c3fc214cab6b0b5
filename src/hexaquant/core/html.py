"""Small HTML for notebooks: a heading and a table. Every text is escaped, since names come from model files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

LIMIT = 40
"""Rows of a table in a notebook."""
_CELL = "text-align:left;padding:2px 14px 2px 0;vertical-align:baseline"


def heading(text: str) -> str:
    """A line in bold."""
    return f"<p><strong>{escape(text)}</strong></p>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], limit: int = LIMIT) -> str:
    """A table of the first ``limit`` rows, and how many more there are."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in cells[:limit])
    more = len(cells) - limit
    tail = paragraph(f"and {more:,} more") if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{tail}"


def _cell(text: str) -> str:
    return f'<td style="{_CELL}">{escape(text)}</td>'
