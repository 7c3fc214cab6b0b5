"""Tables that fit the terminal: with lines where there is room, without lines, or as records where there is little.

1. A table as wide as its content is drawn with lines.
2. Where that is too wide, lines go, columns with one value for all rows move into the title, and texts wrap; numbers
   and short words are never broken.
3. Where even those do not fit side by side, each row is a block of "column: value".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

SHORT = 12
"""Columns of cells up to this length are not wrapped, and longer ones not below it."""
LINED = 3
BARE = 2
"""Room that a column takes beside its text, with lines and without."""


@dataclass(frozen=True)
class Fitted:
    """``rows``: cells as texts; ``right``: columns of numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        if sum(self.widths()) + LINED * len(self.columns) + 1 <= width:
            yield self._table(lines=True)
            return
        bare = self.without_constants()
        if bare.least() <= width:
            yield from bare._heading()
            yield bare._table(lines=False)
            return
        yield from (*self._heading(), *self._records())

    def widths(self) -> list[int]:
        """Cells that each column needs for its longest text."""
        from rich.cells import cell_len

        return [
            max(cell_len(line) for text in texts for line in text.split("\n"))
            for texts in zip(self.columns, *self.rows)
        ]

    def least(self) -> int:
        """Cells that are needed without lines when long texts wrap."""
        needed = [w if i in self.right else min(w, SHORT) for i, w in enumerate(self.widths())]
        return sum(needed) + BARE * len(needed)

    def without_constants(self) -> Fitted:
        """The columns that have one value for all of several rows told in the title instead."""
        told = [i for i, values in enumerate(zip(*self.rows)) if len(self.rows) > 1 and len(set(values)) == 1]
        kept = [i for i in range(len(self.columns)) if i not in told]
        if not kept or not told:
            return self
        words = [f"{self.columns[i]} {self.rows[0][i]}".strip() for i in told if self.rows[0][i]]
        title = ", ".join(text for text in (self.title, *words) if text)
        rows = tuple(tuple(row[i] for i in kept) for row in self.rows)
        right = frozenset(place for place, i in enumerate(kept) if i in self.right)
        return Fitted(title, tuple(self.columns[i] for i in kept), rows, right)

    def _heading(self) -> list[Any]:
        from rich.text import Text

        return [Text(self.title, style="bold")] if self.title else []

    def _table(self, lines: bool) -> Any:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        look: dict[str, Any] = {"box": box.HEAVY_HEAD} if lines else {"box": None, "padding": (0, BARE, 0, 0)}
        title = self.title if lines and self.title else None
        drawn = Table(title=title, title_justify="left", title_style="bold", header_style="bold", **look)
        for index, (name, width) in enumerate(zip(self.columns, self.widths())):
            whole = index in self.right or width <= SHORT
            least = None if whole else SHORT
            justify: Any = "right" if index in self.right else "left"
            drawn.add_column(Text(name), justify=justify, overflow="fold", no_wrap=whole, min_width=least)
        for row in self.rows:
            drawn.add_row(*map(Text, row))
        return drawn

    def _records(self) -> Sequence[Any]:
        from rich.padding import Padding
        from rich.text import Text

        drawn: list[Any] = []
        for row in self.rows:
            drawn.append(Text(row[0], style="bold"))
            pairs = [(name, cell) for name, cell in zip(self.columns[1:], row[1:]) if cell]
            drawn += [Padding(Text(f"{name}: {cell}" if name else cell), (0, 0, 0, 2)) for name, cell in pairs]
        return drawn
