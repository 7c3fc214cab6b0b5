"""What a way to a device can do; ssh.py and adb.py are the two ways."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from hexaquant.bundle.remote.command import Answer
from hexaquant.core.errors import EnvironmentLacksError


class Transport(Protocol):
    """Paths on the device have forward slashes. Every method raises EnvironmentLacksError when the way is cut."""

    folder: str
    """Where this package may put folders on the device; may be relative to the home folder."""

    def shell(self, command: str) -> Answer:
        """Run ``command`` in the device's shell."""

    def push(self, files: Mapping[str, Path], folder: str) -> None:
        """Copy local files to the names below ``folder``, with their modes; folders are made."""

    def pull(self, folder: str, wanted: Sequence[str]) -> dict[str, bytes]:
        """The content of the files ``wanted`` below ``folder``; those that do not exist are left out."""


def joined(words: Sequence[str]) -> str:
    """The words as one command for a POSIX shell, each taken literally."""
    return " ".join(shlex.quote(word) for word in words)


def require(transport: Transport, command: str, doing: str) -> str:
    """The output of ``command``. Raises EnvironmentLacksError when it fails."""
    answer = transport.shell(command)
    if answer.code:
        raise EnvironmentLacksError(f"{doing} failed on the device: {answer.last_line}")
    return answer.out.decode(errors="replace")
