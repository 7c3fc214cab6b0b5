"""One command of ssh or adb: how long it may take, and what its end means."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from hexaquant.core.errors import EnvironmentLacksError


@dataclass(frozen=True)
class Answer:
    """``out`` is empty where the output went into a file."""

    code: int
    out: bytes
    err: str

    @property
    def last_line(self) -> str:
        """What the command said last, for an error message."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip() and not line.startswith("Warning:")]
        return lines[-1] if lines else f"exit code {self.code}"


def call(
    words: Sequence[str], timeout_s: float, *, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None
) -> Answer:
    """Run a program of this PC. Raises EnvironmentLacksError when it is not installed or takes longer."""
    if shutil.which(words[0]) is None:
        raise EnvironmentLacksError(f"{words[0]} is not installed here: install it to reach the device")
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentLacksError(
            f"the device did not answer within {timeout_s:g} s: look after it or raise --device-timeout"
        ) from None
    return Answer(done.returncode, done.stdout or b"", done.stderr.decode(errors="replace"))
