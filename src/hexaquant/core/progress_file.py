"""A listener of the event stream that keeps a file with what a running job does, for whoever watches it.

The file is replaced atomically, at most once a second, so that a reader never sees half of it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hexaquant.core.atomic import write_text
from hexaquant.core.errors import HexaquantError
from hexaquant.core.events import Event

PROGRESS = ".state/progress.json"
"""Where the file lies in an artifact folder."""
FORMAT = 1
EVERY = 1.0
"""Seconds between two writes."""
NOTES = 40
"""The newest so many notes and warnings are kept."""


class ProgressFile:
    """Writes ``path`` as ``{"format", "command", "started", "updated", "state", "tasks", "notes"}``.

    ``state``: "running", "done" or "failed"; times are seconds since 1970; a task has "task", "done", "total",
    "seconds", "running" and "figures" (its last loss, accuracy ...). A file that cannot be written (full disk) is
    left out: watching must not stop the job.
    """

    def __init__(self, path: Path, command: Sequence[str] = ()) -> None:
        self._path = path
        self._command = list(command)
        self._started = time.time()
        self._state = "running"
        self._written = 0.0
        self._since: dict[str, float] = {}
        self._tasks: dict[str, dict[str, Any]] = {}
        self._notes: list[dict[str, str]] = []

    def __call__(self, event: Event) -> None:
        if event.kind in ("note", "warning"):
            self._notes = [*self._notes, {"kind": event.kind, "text": event.text}][-NOTES:]
        else:
            self._count(event)
        if time.monotonic() - self._written >= EVERY:
            self._write()

    def finish(self, failed: bool = False) -> None:
        """Write the last state. A job that failed before it did anything leaves no file."""
        if failed and not self._written:
            return
        self._state = "failed" if failed else "done"
        for task in self._tasks.values():
            task["running"] = False
        self._write()

    def document(self) -> dict[str, Any]:
        """What the file says now."""
        return {
            "format": FORMAT,
            "command": self._command,
            "pid": os.getpid(),
            "started": round(self._started, 3),
            "updated": round(time.time(), 3),
            "state": self._state,
            "tasks": list(self._tasks.values()),
            "notes": self._notes,
        }

    def _count(self, event: Event) -> None:
        if event.kind == "start" or event.task not in self._tasks:
            self._since[event.task] = time.monotonic()
            self._tasks.pop(event.task, None)
            self._tasks[event.task] = {"task": event.task, "figures": {}}
        task = self._tasks[event.task]
        figures = {name: v for name, v in event.data.items() if isinstance(v, int | float) and math.isfinite(v)}
        task["figures"] = {**task["figures"], **figures}
        task["done"], task["total"] = event.done, event.total
        task["seconds"] = round(time.monotonic() - self._since[event.task], 1)
        task["running"] = event.kind != "end"

    def _write(self) -> None:
        self._written = time.monotonic()
        with contextlib.suppress(HexaquantError):
            write_text(self._path, json.dumps(self.document()))
