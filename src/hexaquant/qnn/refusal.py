"""How a job in a child process reports a failure that has a name."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """``kind``: a key of process.ERROR_KINDS; ``details``: JSON-able facts for the parent's message."""

    def __init__(self, kind: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.details = details
