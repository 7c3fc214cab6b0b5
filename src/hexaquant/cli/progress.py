"""Listeners of the event stream: progress bars with time estimate on a terminal, lines in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from hexaquant.core.events import Event, Listener
from hexaquant.core.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


@contextmanager
def bars(console: Console) -> Iterator[Listener]:
    """Progress bars on ``console``: how many of how many, elapsed time and the estimate of what remains."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(progress)


class Bars:
    """One bar for each task that is started, with the figures (loss, accuracy ...) that its events carry."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._figures: dict[str, dict[str, Any]] = {}

    def __call__(self, event: Event) -> None:
        if event.kind == "start":
            self._tasks[event.task] = self._progress.add_task(event.task, total=event.total, figures="")
        elif event.kind in ("note", "warning"):
            prefix = "warning: " if event.kind == "warning" else ""
            style = "yellow" if event.kind == "warning" else None
            self._progress.console.print(f"{prefix}{printable(event.text)}", markup=False, highlight=False, style=style)
        elif event.task in self._tasks:
            total = event.done if event.kind == "end" and event.total is None else event.total
            self._figures.setdefault(event.task, {}).update(event.data if event.kind == "progress" else {})
            shown = figures_text(self._figures[event.task])
            self._progress.update(self._tasks[event.task], completed=event.done, total=total, figures=shown)


def figures_text(figures: dict[str, Any]) -> str:
    """ "loss 0.0123  accuracy 0.91": the last of each figure that a task reports."""
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items() if isinstance(value, float))


class Lines:
    """One line when a task ends, with its time and last figures; notes and warnings as they come."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._since: dict[str, float] = {}
        self._figures: dict[str, dict[str, Any]] = {}

    def __call__(self, event: Event) -> None:
        if event.kind == "start":
            self._since[event.task] = time.monotonic()
        elif event.kind == "end":
            seconds = time.monotonic() - self._since.get(event.task, time.monotonic())
            of = f" of {event.total}" if event.total is not None and event.total != event.done else ""
            figures = figures_text(self._figures.get(event.task, {}))
            self._say(f"{event.task}: {event.done}{of} in {seconds:.1f} s" + (f", {figures}" if figures else ""))
        elif event.kind == "progress":
            self._figures.setdefault(event.task, {}).update(event.data)
        elif event.kind in ("note", "warning"):
            self._say(f"{'warning: ' if event.kind == 'warning' else ''}{event.text}")

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
