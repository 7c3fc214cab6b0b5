"""One event stream that progress bars, logs and ``--json`` all consume.

Library code reports what it does through an :class:`Events` object that is passed in; what becomes
of the events is decided by whoever made it. There is no global listener.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sized
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Kind = Literal["start", "progress", "end", "note", "warning"]


@dataclass(frozen=True)
class Event:
    """Something that happened. ``task`` names the job ("calibrate"), ``done``/``total`` count its items."""

    kind: Kind
    task: str
    text: str = ""
    done: int = 0
    total: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


class Events:
    """Sends events to its listeners in order; without listeners it is silent and costs nothing."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def emit(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)

    def note(self, task: str, text: str, **data: Any) -> None:
        self.emit(Event("note", task, text, data=data))

    def warn(self, task: str, text: str, **data: Any) -> None:
        self.emit(Event("warning", task, text, data=data))

    def track(self, items: Iterable[T], task: str, total: int | None = None) -> Generator[T, None, None]:
        """Yield ``items`` while reporting start, progress and end of ``task``."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        self.emit(Event("start", task, total=total))
        done = 0
        try:
            for item in items:
                yield item
                done += 1
                self.emit(Event("progress", task, done=done, total=total))
        finally:
            self.emit(Event("end", task, done=done, total=total))
